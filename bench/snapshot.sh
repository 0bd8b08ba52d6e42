# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# Snapshots beside pg_dump -Fd with the same compression and number of workers.

cases_snapshot() {
  local dataset codec workers
  for dataset in pgbench wide; do
    for codec in zstd lz4 gzip none; do
      for workers in 1 2 4; do echo "snapshot:$dataset:$codec:$workers"; done
    done
  done
  for workers in 1 2 4; do echo "snapshot:small:zstd:$workers"; done
}

# Both write side by side: a file system may treat files elsewhere differently.
dumps=$PWD/build/servers/bench/dumps

run_snapshot() {
  mkdir -p "$dumps"
  compare snapshot "$@"
}

# snapshot PATH CODEC WORKERS TABLES
snapshot() {
  psql -v path="$snapshots/$1" -v codec="$2" -v workers="$3" -v tables="$4" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', compression => :'codec', parallel => :workers,
                                                  tables => nullif(:'tables', '')::text[]) \gset
select 1 / (status = 'complete')::int from steep_repl.wait_snapshot(:'snapshot_id');
SQL
}

drop_snapshots() {
  psql -c 'select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots' >/dev/null
}

ours_snapshot() { snapshot "run$run" "$2" "$3" ''; }

peer_snapshot() {
  local method=$2
  [ "$method" != zstd ] || method=zstd:3
  "$bindir/pg_dump" -Fd -j "$3" -Z "$method" -f "$dumps/$run" "$PGDATABASE"
}

# Thousands of files that were just removed slow down ext4 without a journal, which does not use their
# inodes again for a while but looks at each. So they stay until the case ends.
clean_snapshot() {
  [ "$2" != small ] || [ "$1" = "${RUNS:-5}" ] || return 0
  drop_snapshots
  rm -rf "${dumps:?}"/*
}
