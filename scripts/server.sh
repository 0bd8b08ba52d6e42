#!/usr/bin/env bash
# Servers to try steep_repl out on, in build/servers/NAME; see `make help`.
#
#   usage: scripts/server.sh start NAME
#          scripts/server.sh psql NAME [ARGUMENT...]
#          scripts/server.sh stop [NAME]                     without NAME: all of them
#          scripts/server.sh remove NAME                     stop it and delete its data
#
# Environment, when starting: JS, the engine (plv8 or pljs); PORT, by default the previous one or a
# free one; CONF, settings such as "work_mem=8MB search_path='a, b'".
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
servers=$(cd "$here/.." && pwd)/build/servers

die() { printf 'server: %s\n' "$*" >&2; exit 1; }

use() {
  name=$1
  [[ $name =~ ^[A-Za-z0-9_-]+$ ]] || die "a server's name has letters, digits, - and _ only: $name"
  home=$servers/$name
  data=$home/data
  log=$home/log
}

# The postmaster's process id, when it runs.
running_pid() {
  local pid
  [ -f "$data/postmaster.pid" ] || return 1
  pid=$(head -n 1 "$data/postmaster.pid")
  alive "$pid" && echo "$pid"
}

# A process that has ended, but that nobody has waited for yet, counts as gone.
alive() {
  [ -d "/proc/$1" ] || { [ ! -d /proc/self ] && kill -0 "$1" 2>/dev/null; } || return 1
  ! grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"
}

await_end() {
  local pid=$1 tries=${2:-600}
  while alive "$pid"; do
    [ "$((tries -= 1))" -gt 0 ] || return 1
    sleep 0.05
  done
}

# What a name could not say is asked of the server that answers: is the port taken?
taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for port in {5601..5699}; do
    taken "$port" || { echo "$port"; return; }
  done
  die "no free port from 5601 to 5699: give PORT="
}

# "a=1 b='x y'" as lines of a configuration file
as_settings() {
  local item
  while IFS= read -r item; do
    [ -n "$item" ] || continue
    [[ $item == *=* ]] || die "CONF is a list of setting=value, and this is not: $item"
    # shellcheck disable=SC2001 # quotes in a pattern of bash are unreadable
    printf "%s = '%s'\n" "${item%%=*}" "$(sed "s/'/''/g" <<<"${item#*=}")"
  done < <(xargs -n 1 printf '%s\n' <<<"$1")
}

initialize() {
  mkdir -p "$home/snapshots"
  chmod 700 "$home/snapshots"
  "$here/unprivileged.sh" --own "$home"
  "$here/unprivileged.sh" "$bindir/initdb" -D "$data.new" -U postgres -A trust \
    -E UTF8 --locale=C.UTF-8 >"$home/initdb.log" 2>&1 || { cat "$home/initdb.log" >&2; die "initdb failed"; }
  echo "include 'server.conf'" >>"$data.new/postgresql.conf"
  mv "$data.new" "$data"
}

configure() {
  local staged
  staged=$("$here/stage-settings.sh" "$JS")
  cat >"$data/server.conf" <<CONF
# written by each start
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$sockets'
wal_level = logical
shared_preload_libraries = 'steep_repl'
$staged
steep_repl.snapshot_directories = '$home/snapshots'
log_line_prefix = '%m [%p] %b '
$(as_settings "${CONF:-}")
CONF
}

start() {
  port=${PORT:-}
  : "${JS:?set it to the engine, plv8 or pljs}"
  PG_CONFIG=$("$here/find-pg.sh")
  export PG_CONFIG
  bindir=$("$PG_CONFIG" --bindir)

  stop
  [ -f "$data/PG_VERSION" ] || initialize
  [ -n "$port" ] || port=$(cat "$home/port" 2>/dev/null || true)
  if [ -z "$port" ]; then port=$(free_port); fi
  ! taken "$port" || die "something already listens on port $port: give another PORT="

  # the system allows 107 bytes for a socket's path, and a checkout's can be longer
  sockets=$(mktemp -d /tmp/steep-repl.XXXXXX)
  echo "$sockets" >"$home/sockets"
  echo "$port" >"$home/port"
  configure
  "$here/unprivileged.sh" --own "$data" "$sockets"
  : >>"$log"
  "$here/unprivileged.sh" --own "$log"

  # the server must not keep the caller's pipes open
  if ! "$here/unprivileged.sh" "$bindir/pg_ctl" start -s -w -D "$data" -l "$log" </dev/null >"$home/pg_ctl.log" 2>&1; then
    cat "$home/pg_ctl.log" >&2
    tail -n 20 "$log" >&2
    die "it did not start; its log is $log"
  fi

  # databases that are created later have the languages, too, and CREATE EXTENSION steep_repl is enough
  local database
  for database in template1 postgres; do
    psql_here -q -d "$database" -v ON_ERROR_STOP=1 -c 'set client_min_messages = warning' \
      -c "create extension if not exists $JS" -c 'create extension if not exists dblink'
  done

  cat <<DONE
server "$name" is running: $("$bindir/postgres" --version), $JS
  connect    postgresql://postgres@127.0.0.1:$port/postgres
  psql       make psql NAME=$name
  snapshots  $home/snapshots
  log        $log
  stop       make stop NAME=$name
DONE
}

psql_here() {
  PGDATABASE=${PGDATABASE:-postgres} "$bindir/psql" -X -U postgres -h 127.0.0.1 -p "$(cat "$home/port")" "$@"
}

stop() {
  local pid
  if pid=$(running_pid); then
    kill -INT "$pid"
    await_end "$pid" || { kill -QUIT "$pid"; await_end "$pid" || die "$name (process $pid) does not stop"; }
  fi
  if [ -f "$home/sockets" ]; then
    rm -rf -- "$(cat "$home/sockets")"
    rm -f "$home/sockets"
  fi
}

command=${1:-}
case $command in
  start)
    use "${2:?name}"
    start
    ;;
  psql)
    use "${2:?name}"
    shift 2
    running_pid >/dev/null || die "$name does not run: make server NAME=$name"
    bindir=$("$("$here/find-pg.sh")" --bindir)
    PGDATABASE=${PGDATABASE:-postgres} exec "$bindir/psql" -U postgres -h 127.0.0.1 -p "$(cat "$home/port")" "$@"
    ;;
  stop)
    if [ -n "${2:-}" ]; then
      use "$2"
      [ -d "$home" ] || die "there is no server $name"
      stop
    else
      for directory in "$servers"/*/; do
        [ -d "$directory" ] || continue
        use "$(basename "$directory")"
        stop
      done
    fi
    ;;
  remove)
    use "${2:?name}"
    stop
    rm -rf -- "$home"
    ;;
  *)
    die "usage: $0 start|psql|stop|remove NAME ..."
    ;;
esac
