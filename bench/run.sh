#!/usr/bin/env bash
# Measures a snapshot beside pg_dump, on the same server and data, in turns: wall time, and the CPU
# seconds of everything that took part, on the server and outside of it. Prints medians and ratios.
#
# Environment: JS, the engine (plv8 or pljs); SCALE, pgbench's scale (default 50); RUNS (default 5);
# WORKERS (default "1 2"); CODECS, names as both programs know them (default "zstd").
set -euo pipefail
cd "$(dirname "$0")/.."

bindir=$("$(scripts/find-pg.sh)" --bindir)
work=$(mktemp -d)
trap 'scripts/server.sh remove bench || true; rm -rf "$work"' EXIT

unset PORT
CONF="max_worker_processes=24 shared_buffers=1GB max_wal_size=4GB autovacuum=off" scripts/server.sh start bench >/dev/null
export PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=bench
PGPORT=$(cat build/servers/bench/port)
export PGPORT
snapshots=$PWD/build/servers/bench/snapshots
postmaster=$(head -n 1 build/servers/bench/data/postmaster.pid)
psql() { "$bindir/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

psql -d postgres -c 'create database bench'
"$bindir/pgbench" -i -q -s "${SCALE:-50}" >"$work/pgbench" 2>&1 || { cat "$work/pgbench"; exit 1; }
psql -c 'create extension steep_repl; checkpoint'

# CPU seconds of the server so far: its own, and those of processes that it has reaped
server_cpu() {
  awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13 + $14 + $15) / hz }' "/proc/$postmaster/stat"
}

# A process counts once it is reaped, which is a moment after its client has gone.
processes() { pgrep -c -P "$postmaster"; }
settle() {
  until [ "$(processes)" -le "$idle" ]; do sleep 0.01; done
}

# measure LABEL COMMAND...: appends "wall cpu" to the label's results
measure() {
  local label=$1 before after
  shift
  settle
  before=$(server_cpu)
  TIMEFORMAT='%R %U %S'
  { time "$@" >/dev/null 2>"$work/err"; } 2>"$work/time" || { cat "$work/err" >&2; exit 1; }
  settle
  after=$(server_cpu)
  awk -v a="$before" -v b="$after" '{ print $1, $2 + $3 + b - a }' "$work/time" >>"$work/$label"
}

# the session that waits is idle; the job's own times are what the row says
snapshot() {
  local codec=$1 workers=$2 path=$snapshots/run
  psql -v path="$path" -v codec="$codec" -v workers="$workers" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', compression => :'codec', parallel => :workers) \gset
select 1 / (status = 'complete')::int from steep_repl.wait_snapshot(:'snapshot_id');
SQL
}

drop_snapshots() {
  psql -c 'select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots' >/dev/null
}

dump() {
  local codec=$1 workers=$2
  [ "$codec" != zstd ] || codec=zstd:3
  "$bindir/pg_dump" -Fd -j "$workers" -Z "$codec" -f "$work/dump"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
of() { cut -d ' ' -f "$2" "$work/$1" | median; }

idle=$(processes)
printf '%-6s %-7s | %9s %9s %6s | %9s %9s %6s\n' codec workers 'wall s' pg_dump ratio 'CPU s' pg_dump ratio
for codec in ${CODECS:-zstd}; do
  for workers in ${WORKERS:-1 2}; do
    for _ in $(seq "${RUNS:-5}"); do
      measure "ours-$codec-$workers" snapshot "$codec" "$workers"
      drop_snapshots
      measure "theirs-$codec-$workers" dump "$codec" "$workers"
      rm -rf "$work/dump"
    done
    ours=ours-$codec-$workers theirs=theirs-$codec-$workers
    awk -v codec="$codec" -v workers="$workers" \
      -v a="$(of "$ours" 1)" -v b="$(of "$theirs" 1)" -v c="$(of "$ours" 2)" -v d="$(of "$theirs" 2)" \
      'BEGIN { printf "%-6s %-7s | %9.2f %9.2f %6.2f | %9.2f %9.2f %6.2f\n", codec, workers, a, b, a / b, c, d, c / d }'
  done
done

echo
echo "ms from queueing a job to its claim, and to the end of a snapshot of one small table:"
for _ in 1 2 3 4 5; do
  psql -v path="$snapshots/latency" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', tables => '{public.pgbench_branches}') \gset
select round(extract(epoch from started_at - created_at) * 1000, 1) || ' ' || round(extract(epoch from completed_at - created_at) * 1000, 1)
from steep_repl.wait_snapshot(:'snapshot_id');
SQL
  drop_snapshots
done
