#!/bin/sh
# Print the path of the pg_config of a PostgreSQL 18 that steep_repl can be built for and tested on:
# it must have PGXS and PL/V8 or PL/JS.
#
#   PG_CONFIG=...  use this one, or fail and say what is wrong with it; it may also be of PostgreSQL 19, and
#                  with JS=plv8 or JS=pljs the engine need not be there, as where packages are built
#   otherwise      an installed one; else, on Debian and Ubuntu, packages unpacked in build/pg18
set -eu

here=$(cd "$(dirname "$0")" && pwd)
unpacked=$here/../build/pg18/usr/lib/postgresql/18/bin/pg_config

say() { printf 'find-pg: %s\n' "$*" >&2; }

# Says what is wrong with a pg_config; says nothing when it is usable. Given "named", of the one that PG_CONFIG names.
flaw() {
  command -v "$1" >/dev/null 2>&1 || { echo "there is no such program"; return; }
  version=$("$1" --version 2>/dev/null) || { echo "it does not run"; return; }
  case $version/${2:-} in
    'PostgreSQL 18'* | 'PostgreSQL 19'*/named) ;;
    *) echo "it is $version, and steep_repl needs PostgreSQL 18 or 19"; return ;;
  esac
  pgxs=$("$1" --pgxs)
  [ -f "$pgxs" ] || { echo "$pgxs is missing: install the server's development files"; return; }
  [ -z "${2:-}" ] || [ -z "${JS:-}" ] || return 0
  extensions=$("$1" --sharedir)/extension
  [ -f "$extensions/plv8.control" ] || [ -f "$extensions/pljs.control" ] ||
    echo "neither plv8.control nor pljs.control is in $extensions: install PL/V8 or PL/JS"
}

found() { command -v "$1"; exit 0; }

if [ -n "${PG_CONFIG:-}" ]; then
  problem=$(flaw "$PG_CONFIG" named)
  [ -z "$problem" ] && found "$PG_CONFIG"
  say "PG_CONFIG=$PG_CONFIG cannot be used: $problem"
  exit 1
fi

for candidate in pg_config \
  /usr/lib/postgresql/18/bin/pg_config \
  /usr/pgsql-18/bin/pg_config \
  /usr/local/pgsql/bin/pg_config \
  /opt/homebrew/opt/postgresql@18/bin/pg_config \
  /usr/local/opt/postgresql@18/bin/pg_config \
  /Applications/Postgres.app/Contents/Versions/18/bin/pg_config; do
  [ -n "$(flaw "$candidate")" ] || found "$candidate"
done

if [ -x "$unpacked" ] && [ -z "$(flaw "$unpacked")" ]; then
  cd "${unpacked%/*}" && found "$PWD/pg_config"
fi

if [ -x "$here/fetch-pg18.sh" ] && command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1; then
  say "no PostgreSQL 18 with PGXS and PL/V8 or PL/JS is installed: unpacking Debian's into build/pg18"
  "$here/fetch-pg18.sh" "$here/../build/pg18" >/dev/null && cd "${unpacked%/*}" && found "$PWD/pg_config"
  say "that did not work; the commands below install one instead"
fi

cat >&2 <<'HELP'
find-pg: no usable PostgreSQL 18 found. steep_repl needs the server, its development files (PGXS) and
a JavaScript language, PL/JS or PL/V8. To install them:

  Debian 14 or newer    apt-get install postgresql-18 postgresql-server-dev-18 postgresql-18-pljs
  Debian, Ubuntu        with the apt repository of postgresql.org, the same three packages
  Fedora, RHEL          with the yum repository of postgresql.org:
                        dnf install postgresql18-server postgresql18-devel postgresql18-contrib,
                        then build PL/V8 or PL/JS with PG_CONFIG=/usr/pgsql-18/bin/pg_config
  macOS                 brew install postgresql@18, then build PL/V8 or PL/JS for it

The libraries zstd, lz4 and zlib with their headers are needed, too (Debian: libzstd-dev liblz4-dev
zlib1g-dev). Where it is in an unusual place, give its pg_config: make PG_CONFIG=/path/to/pg_config
HELP
exit 1
