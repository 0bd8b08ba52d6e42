# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# Fetching a snapshot from a second server beside psql's \copy of the same bytes to a program: over the loopback, and
# over a line with 40 ms of round trip and 1 Gbit/s.

cases_fetch() {
  local workers
  for workers in 1 2 4; do echo "fetch:wide:none:$workers"; done
  for workers in 1 2; do echo "fetch:line:none:$workers"; done
}

fill_line() { :; }

# The second server with a snapshot of the wide table, once.
use_source() {
  [ -z "${source_path:-}" ] || return 0
  PGDATABASE=wide use_peer wide
  peer_snapshots=$PWD/build/servers/bench-peer/snapshots
  source_path=$peer_snapshots/source
  on_peer psql -d wide -c 'create extension if not exists steep_repl cascade'
  on_peer psql -d wide -v path="$source_path" <<'SQL'
select snapshot_id from steep_repl.start_snapshot(:'path', compression => 'none') \gset
select 1 / (status = 'complete')::int from steep_repl.wait_snapshot(:'snapshot_id');
SQL
  source_bytes=$(du -sb "$source_path" | cut -f 1)
}

run_fetch() {
  use_source
    fetch_port=$peer_port
  if [ "$1" = line ]; then
    rm -f "$work/line"
    timeout 600 node bench/delay-line.mjs "$peer_port" 40 1000 >"$work/line" &
    line=$!
    until [ -s "$work/line" ]; do sleep 0.01; done
    fetch_port=$(cat "$work/line")
  fi
  compare fetch "$@"
  awk -v bytes="$source_bytes" -v ours="$(median_of ours 1)" -v peer="$(median_of peer 1)" \
    'BEGIN { printf "         %.0f MB: %.0f MB/s beside %.0f MB/s of one stream\n", bytes / 1e6, bytes / 1e6 / ours, bytes / 1e6 / peer }'
  if [ "$1" = line ]; then kill "$line"; fi
}

ours_fetch() {
  psql -v path="$snapshots/fetched$run" -v workers="$3" -v source="$source_path" \
    -v peer="host=127.0.0.1 port=$fetch_port dbname=wide user=postgres" <<'SQL'
select snapshot_id from steep_repl.start_fetch(:'peer', :'source', :'path', parallel => :workers) \gset
select status = 'complete' as is_complete, error_message from steep_repl.wait_snapshot(:'snapshot_id') \gset
\if :is_complete
\else
\warn :error_message
select 1 / 0;
\endif
SQL
}

peer_fetch() {
  PGPORT=$fetch_port psql -d wide -c "\\copy (select pg_read_binary_file('$source_path/' || f, at, 1048576) from pg_ls_dir('$source_path') f, pg_stat_file('$source_path/' || f) s, generate_series(0, s.size - 1, 1048576) at) to program 'cat >$work/copied' (format binary)"
}

clean_fetch() {
  drop_snapshots
  rm -f "$work/copied"
}
