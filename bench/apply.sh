# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# Applying a snapshot beside pg_restore of the same archive, indexes included.

cases_apply() {
  local dataset codec workers
  for dataset in pgbench wide small; do
    for workers in 1 2 4; do echo "apply:$dataset:zstd:$workers"; done
  done
  for codec in lz4 gzip none; do echo "apply:pgbench:$codec:2"; done
}

run_apply() {
  local run
  snapshot archive "$2" 2 '' >/dev/null
  for run in $(seq "${RUNS:-5}"); do
    psql -d postgres -c "create database ours$run" -c "create database peer$run"
    psql -d "ours$run" -c 'create extension steep_repl'
  done
  compare apply "$@"
  drop_snapshots
}

# apply DATABASE WORKERS
apply() {
  psql -d "$1" -v path="$snapshots/archive" -v workers="$2" <<'SQL'
select snapshot_id from steep_repl.start_apply(:'path', parallel => :workers) \gset
select 1 / (status = 'complete')::int from steep_repl.wait_snapshot(:'snapshot_id');
SQL
}

ours_apply() { apply "ours$run" "$3"; }

peer_apply() { "$bindir/pg_restore" -j "$3" -d "peer$run" "$snapshots/archive"; }

# Databases of many files stay, under other names, for the reason that snapshots do.
clean_apply() {
  local side
  for side in ours peer; do
    if [ "$2" = small ]; then
      psql -d postgres -c "alter database $side$1 rename to kept_${side}_$4_$1"
    else
      psql -d postgres -c "drop database $side$1"
    fi
  done
}
