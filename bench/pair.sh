#!/usr/bin/env bash
# A whole clone, from an empty peer to an equal one that replicates: start_pair beside pg_dump, a copy of its directory and pg_restore,
# and beside pgcopydb where PGCOPYDB names that. In turns, on two servers of its own; wall time, and the CPU seconds of both servers and
# of the programs. start_pair ends with subscriptions both ways and a comparison of all rows; the others end with the rows.
#
#   usage: bench/pair.sh [pgbench|wide]
#
# Environment: JS, the engine (plv8 or pljs); RUNS (default 3), WORKERS (default 2), SCALE and ROWS as for bench/run.sh.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
dataset=${1:-wide}
workers=${WORKERS:-2}
bindir=$("$(scripts/find-pg.sh)" --bindir)
work=$(mktemp -d)
trap 'scripts/server.sh remove bench-from >/dev/null 2>&1 || true; scripts/server.sh remove bench-to >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
export PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=clone PGOPTIONS='-c client_min_messages=warning'

psql() { "$bindir/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
# shellcheck source=bench/data.sh
. "$here/data.sh"

for name in bench-from bench-to; do
  unset PORT PGPORT
  CONF="wal_level=logical max_worker_processes=24 shared_buffers=512MB max_wal_size=4GB autovacuum=off track_commit_timestamp=on" \
    scripts/server.sh start "$name" >/dev/null
done
from=$(cat build/servers/bench-from/port)
to=$(cat build/servers/bench-to/port)
from_pid=$(head -n 1 build/servers/bench-from/data/postmaster.pid)
to_pid=$(head -n 1 build/servers/bench-to/data/postmaster.pid)

# know PORT NODE OTHER_PORT: the extension, and the other node
know() {
  PGPORT=$1 psql -c "create extension steep_repl cascade" \
    -c "create server other foreign data wrapper dblink_fdw options (host '127.0.0.1', port '$3', dbname 'clone')" \
    -c "create user mapping for postgres server other options (user 'postgres', password 'unused')" \
    -c "select steep_repl.register_node('$2', '$2', foreign_server => 'other')" >/dev/null
}

export PGPORT=$from
psql -d postgres -c 'create database clone'
"fill_$dataset" >/dev/null
psql -c 'vacuum analyze'
know "$from" node_to "$to"

empty_peer() {
  psql -c "select steep_repl.drop_pair('node_to')" >/dev/null 2>&1 || true
  PGPORT=$to psql -d postgres -c 'drop database if exists clone (force)' -c 'create database clone'
}

cpu() {
  local pid
  for pid in "$from_pid" "$to_pid"; do
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13 + $14 + $15) / hz }' "/proc/$pid/stat"
  done | awk '{ s += $1 } END { print s }'
}

ours() {
  psql -v workers="$workers" <<'SQL'
select pair_id from steep_repl.start_pair('node_to', parallel => :workers) \gset
select 1 / (status = 'complete')::int from steep_repl.wait_pair(:'pair_id');
SQL
}

dump() {
  rm -rf "$work/dump" "$work/copy"
  "$bindir/pg_dump" -Fd -j "$workers" --exclude-extension=steep_repl --exclude-schema=steep_repl -f "$work/dump"
  cp -r "$work/dump" "$work/copy"
  # it stumbles over the schema that is there; what came of the rows is counted afterwards
  PGPORT=$to "$bindir/pg_restore" -j "$workers" -d clone --no-owner "$work/copy" || true
}

copydb() {
  "$PGCOPYDB" clone --dir "$work/copydb" --restart --table-jobs "$workers" --index-jobs "$workers" --skip-extensions \
    --source "host=127.0.0.1 port=$from user=postgres dbname=clone" --target "host=127.0.0.1 port=$to user=postgres dbname=clone"
}

# of all tables of the data set
count() {
  psql -c "select string_agg(format('%s %s', relname, (xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %s', oid::regclass), false, true, '')))[1]), ', ' order by relname)
           from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
}

# measure LABEL: appends "wall cpu" of the way of that name
measure() {
  local before after
  empty_peer
  if [ "$1" = ours ]; then know "$to" node_from "$from"; fi
  psql -c checkpoint; PGPORT=$to psql -c checkpoint
  before=$(cpu)
  TIMEFORMAT='%R %U %S'
  { time "$1" >"$work/out" 2>&1; } 2>"$work/time" || { cat "$work/out" >&2; exit 1; }
  if [ "$(count)" != "$(PGPORT=$to count)" ]; then cat "$work/out" >&2; echo "bench: $1 has not copied all rows" >&2; exit 1; fi
  sleep 0.3 # processes count once they are reaped
  after=$(cpu)
  awk -v a="$before" -v b="$after" '{ print $1, $2 + $3 + b - a }' "$work/time" >>"$work/times.$1"
}

ways=(ours dump)
if [ -n "${PGCOPYDB:-}" ]; then ways+=(copydb); fi
for _ in $(seq "${RUNS:-3}"); do
  for way in "${ways[@]}"; do measure "$way"; done
done
median() { cut -d " " -f "$2" "$work/times.$1" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
printf '%-8s %9s %9s   ratio of start_pair: wall, CPU\n' "$dataset" 'wall s' 'CPU s'
for way in "${ways[@]}"; do
  awk -v name="$way" -v wall="$(median "$way" 1)" -v cpu="$(median "$way" 2)" -v ow="$(median ours 1)" -v oc="$(median ours 2)" \
    'BEGIN { printf "%-8s %9.2f %9.2f   %.2f, %.2f\n", name, wall, cpu, ow / wall, oc / cpu }'
done
