# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# How long a job waits, and how long the smallest one takes.

cases_latency() { echo latency:latency:zstd:1; }

run_latency() {
  for _ in $(seq "${RUNS:-5}"); do
    psql -v path="$snapshots/latency" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', tables => '{public.one_row}') \gset
select extract(epoch from started_at - created_at) * 1000 || ' ' || extract(epoch from completed_at - created_at) * 1000
from steep_repl.wait_snapshot(:'snapshot_id');
SQL
    drop_snapshots
  done >"$work/latency"
  printf '%-8s %-8s %-5s         | %6.1f ms to the claim of a job, %.1f ms to the end of a snapshot of one small table\n' \
    latency '1 row' "$2" "$(median_of latency 1)" "$(median_of latency 2)"
}
