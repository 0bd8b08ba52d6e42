#!/usr/bin/env bash
# Start PostgreSQL in the container. Where there is no data directory yet, it is made first, from the
# POSTGRES_… variables and the scripts in /docker-entrypoint-initdb.d.
set -euo pipefail

say() { printf 'steep_repl image: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

scripts=/docker-entrypoint-initdb.d

# A data directory is made below the place where it will be, since that may be a mount. The name says
# how far it came: what is found as "initializing" after a crash is made again from the start, what is
# found as "initialized" only has to be moved.
unfinished=$PGDATA/initializing
finished=$PGDATA/initialized

# VARIABLE_FILE names a file with the value, as container secrets are given.
from_file() {
  local file=${1}_FILE
  [ -n "${!file:-}" ] || return 0
  [ -z "${!1:-}" ] || fail "both $1 and $file are set: give one of them"
  [ -r "${!file}" ] || fail "$file is ${!file}, which cannot be read"
  printf -v "$1" '%s' "$(<"${!file}")"
}

read_settings() {
  local name
  for name in POSTGRES_PASSWORD POSTGRES_USER POSTGRES_DB POSTGRES_INITDB_ARGS; do from_file "$name"; done
  POSTGRES_USER=${POSTGRES_USER:-postgres}
  POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}
  method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
}

# Programs that are not the server run as anybody.
check_user() {
  [ "$(id -u)" != 0 ] || fail "PostgreSQL does not run as root: leave out --user, or give postgres"
  getent passwd "$(id -u)" >/dev/null ||
    fail "user id $(id -u) has no name in /etc/passwd, which PostgreSQL needs: leave out --user, or mount a passwd file that has it"
}

check_volumes() {
  local former=/var/lib/postgresql/data
  if mountpoint -q "$former" && [[ $PGDATA/ != "$former"/* ]]; then
    fail "a volume is mounted on $former, but the data will be in $PGDATA: mount it on /var/lib/postgresql, or set PGDATA"
  fi
  mkdir -p "$PGDATA" 2>/dev/null || true
  [ -w "$PGDATA" ] ||
    fail "$PGDATA cannot be written by user $(id -un) ($(id -u)): give the directory that is mounted to that user id"
  [ -w /snapshots ] ||
    say "/snapshots cannot be written by user $(id -un) ($(id -u)), so snapshots there will fail: give the directory that is mounted to that user id"
}

check_password() {
  [ -n "${POSTGRES_PASSWORD:-}" ] || [ "$method" = trust ] || fail "no password for the superuser $POSTGRES_USER.
Set POSTGRES_PASSWORD (or POSTGRES_PASSWORD_FILE), for example: docker run -e POSTGRES_PASSWORD=secret …
POSTGRES_HOST_AUTH_METHOD=trust lets everybody in without one."
}

# What mkfs leaves on a volume is no data.
is_empty() { [ -z "$(find "$PGDATA" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ]; }

make_cluster() {
  local extra=()
  # the variable is a piece of a command line, quotes included, and whoever starts the container wrote it
  eval "extra=(${POSTGRES_INITDB_ARGS:-})"
  # The socket is reachable in the container only, and pg_dump, which reads the schema for snapshots, uses it.
  set -- --username="$POSTGRES_USER" --auth-local=trust --auth-host="$method" \
    -c listen_addresses='*' -c shared_preload_libraries=steep_repl -c steep_repl.snapshot_directories=/snapshots \
    -c wal_level=logical -c track_commit_timestamp=on -c max_worker_processes=16 "${extra[@]}"
  [ -z "${POSTGRES_PASSWORD:-}" ] || set -- --pwfile=/dev/stdin "$@"
  initdb -D "$unfinished" "$@" <<<"${POSTGRES_PASSWORD:-}"
  printf '\n# from outside of the container\nhost all all all %s\n' "$method" >>"$unfinished/pg_hba.conf"
}

# Only who is in the container can reach the server while it is being set up, and only who knows where.
start_for_setup() {
  PGHOST=$(mktemp -d)
  export PGHOST PGPORT=5432 PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB PGPASSWORD=${POSTGRES_PASSWORD:-}
  export POSTGRES_USER POSTGRES_DB POSTGRES_PASSWORD
  postgres -D "$unfinished" "$@" -c listen_addresses= -c unix_socket_directories="$PGHOST" -c port="$PGPORT" &
  server=$!
  until pg_isready -q -d postgres; do
    kill -0 "$server" 2>/dev/null || fail "the new server did not start, see above"
    sleep 0.1
  done
}

sql() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }

make_database() {
  if [ "$POSTGRES_DB" != postgres ]; then
    # shellcheck disable=SC2016 # psql's variable
    sql -d postgres -v name="$POSTGRES_DB" <<<'create database :"name"'
  fi
  sql -c 'create extension steep_repl cascade'
}

run_scripts() {
  local file
  for file in "$scripts"/*; do
    case $file in
      *.sql) say "running $file"; sql -f "$file" ;;
      *.sql.gz) say "running $file"; gunzip -c "$file" | sql ;;
      *.sh) say "running $file"; if [ -x "$file" ]; then "$file"; else bash "$file"; fi ;;
      "$scripts/*") ;;
      *) say "leaving out $file: it is not *.sql, *.sql.gz or *.sh" ;;
    esac
  done
}

initialize() {
  rm -rf "$unfinished"
  chmod 700 "$PGDATA"
  make_cluster
  start_for_setup "$@"
  make_database
  run_scripts
  kill -INT "$server"
  wait "$server"
  mv "$unfinished" "$finished"
}

# In the background, so that a signal ends the container at once; what is unfinished is made again.
prepare() {
  if [ -d "$unfinished" ]; then
    say "the setup of $PGDATA was interrupted: beginning again"
  elif [ ! -d "$finished" ]; then
    [ ! -f "$PGDATA/PG_VERSION" ] || return 0
    is_empty || fail "$PGDATA is neither empty nor a data directory of PostgreSQL"
  fi
  if [ ! -d "$finished" ]; then
    check_password
    initialize "$@" </dev/null &
    trap 'say "stopped during the setup"; exit 1' INT TERM
    wait $! || fail "the setup failed, see above; the next start begins again"
    trap - INT TERM
  fi
  mv "$finished"/* "$PGDATA"
  rmdir "$finished"
  say "$PGDATA is set up"
}

case ${1:-} in '' | -*) set -- postgres "$@" ;; esac
[ "$1" = postgres ] || exec "$@"
for argument; do
  case $argument in '-?' | --help | -V | --version | --describe-config) exec "$@" ;; esac
done

read_settings
check_user
check_volumes
prepare "${@:2}"
# functions and libraries in the server have no business with it
unset POSTGRES_PASSWORD
exec "$@"
