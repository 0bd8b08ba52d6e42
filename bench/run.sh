#!/usr/bin/env bash
# Measures snapshots beside pg_dump, on the same server and data, in turns: wall time, and the CPU
# seconds of everything that took part, on the server and outside of it. Prints medians and ratios.
#
#   usage: bench/run.sh [CASE...]       cases are dataset:codec:workers; without any, all of them
#
# Environment: JS, the engine (plv8 or pljs); SCALE, pgbench's scale (default 50); ROWS of the wide
# table (default 2000000); RUNS (default 5).
set -euo pipefail
cd "$(dirname "$0")/.."

cases=("$@")
[ "${#cases[@]}" -gt 0 ] || cases=(
  pgbench:zstd:1 pgbench:zstd:2 pgbench:zstd:4 pgbench:lz4:2 pgbench:gzip:2 pgbench:none:2
  wide:zstd:1 wide:zstd:2 wide:zstd:4 wide:lz4:2 wide:gzip:2 wide:none:2
  small:zstd:2
)

bindir=$("$(scripts/find-pg.sh)" --bindir)
work=$(mktemp -d)
trap 'scripts/server.sh remove bench >/dev/null || true; rm -rf "$work"' EXIT

unset PORT
CONF="max_worker_processes=24 shared_buffers=1GB max_wal_size=4GB autovacuum=off max_locks_per_transaction=256" \
  scripts/server.sh start bench >/dev/null
export PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres
PGPORT=$(cat build/servers/bench/port)
export PGPORT
snapshots=$PWD/build/servers/bench/snapshots
postmaster=$(head -n 1 build/servers/bench/data/postmaster.pid)
psql() { "$bindir/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

# ---- data

fill_pgbench() {
  "$bindir/pgbench" -i -q -s "${SCALE:-50}" >"$work/pgbench" 2>&1 || { cat "$work/pgbench"; exit 1; }
}

fill_wide() {
  psql -v rows="${ROWS:-2000000}" <<'SQL'
select setseed(0.5);
create table wide as
select g as id, timestamptz '2026-01-01' + random() * interval '1 year' as at,
       jsonb_build_object('user', (random() * 1e6)::int, 'tags', array[md5(random()::text), 'fixed'], 'score', random()) as doc,
       (random() * 1e12)::numeric(20, 6) as amount, repeat(md5((g % 1000)::text), 3) as words
from generate_series(1, :rows) g;
SQL
}

fill_small() {
  psql <<'SQL'
do $$ begin
  for i in 1..2000 loop
    execute format('create table small_%s as select g as id, md5(g::text) as words from generate_series(1, 50) g', i);
    if i % 100 = 0 then commit; end if;
  end loop;
end $$;
SQL
}

use_dataset() {
  export PGDATABASE=$1
  if [ -z "$(psql -d postgres -c "select 1 from pg_database where datname = '$1'")" ]; then
    psql -d postgres -c "create database $1"
    "fill_$1"
    psql -c 'create extension steep_repl; analyze; checkpoint'
  fi
}

# ---- measuring

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

snapshot() {
  psql -v path="$snapshots/run" -v codec="$1" -v workers="$2" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', compression => :'codec', parallel => :workers) \gset
select 1 / (status = 'complete')::int from steep_repl.wait_snapshot(:'snapshot_id');
SQL
}

drop_snapshots() {
  psql -c 'select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots' >/dev/null
}

dump() {
  local method=$1
  [ "$method" != zstd ] || method=zstd:3
  "$bindir/pg_dump" -Fd -j "$2" -Z "$method" -f "$work/dump" "$PGDATABASE"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
of() { cut -d ' ' -f "$2" "$work/$1" | median; }

idle=$(processes)
printf '%-8s %-5s %-7s | %7s %8s %5s | %7s %8s %5s\n' data codec workers 'wall s' pg_dump ratio 'CPU s' pg_dump ratio
for case in "${cases[@]}"; do
  IFS=: read -r dataset codec workers <<<"$case"
  use_dataset "$dataset"
  for _ in $(seq "${RUNS:-5}"); do
    measure "ours-$case" snapshot "$codec" "$workers"
    drop_snapshots
    measure "theirs-$case" dump "$codec" "$workers"
    rm -rf "$work/dump"
  done
  awk -v name="$(printf '%-8s %-5s %-7s' "$dataset" "$codec" "$workers")" \
    -v a="$(of "ours-$case" 1)" -v b="$(of "theirs-$case" 1)" \
    -v c="$(of "ours-$case" 2)" -v d="$(of "theirs-$case" 2)" \
    'BEGIN { printf "%s | %7.2f %8.2f %5.2f | %7.2f %8.2f %5.2f\n", name, a, b, a / b, c, d, c / d }'
done

# ---- latency

use_dataset "${PGDATABASE:-pgbench}"
psql -c 'create table if not exists one_row as select 1 as id'
echo
echo "ms from queueing a job to its claim, and to the end of a snapshot of one small table:"
for _ in 1 2 3 4 5; do
  psql -v path="$snapshots/latency" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', tables => '{public.one_row}') \gset
select round(extract(epoch from started_at - created_at) * 1000, 1) || ' ' || round(extract(epoch from completed_at - created_at) * 1000, 1)
from steep_repl.wait_snapshot(:'snapshot_id');
SQL
  drop_snapshots
done
