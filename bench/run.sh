#!/usr/bin/env bash
# Measures steep_repl beside its peers, on the same server and data, in turns: wall time, and the CPU
# seconds of everything that took part, on the server and outside of it. Prints medians and ratios.
#
#   usage: bench/run.sh [CASE...]       a case is kind:data:codec:workers, a CASE may be a pattern of
#                                       them such as 'snapshot:wide:*'; without any, all of them
#
# Environment: JS, the engine (plv8 or pljs); SCALE, pgbench's scale (default 50); ROWS of the wide
# table (default 2000000); RUNS of each case (default 5).
#
# A kind of case is a file bench/KIND.sh, which lists its cases and says how to run one: with
# `compare`, functions ours_KIND and peer_KIND, and clean_KIND, which removes what both left.
# shellcheck disable=SC2034 # the files below use what is set here
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."

bindir=$("$(scripts/find-pg.sh)" --bindir)
work=$(mktemp -d)
snapshots=$PWD/build/servers/bench/snapshots
trap 'scripts/server.sh remove bench >/dev/null || true; scripts/server.sh remove bench-peer >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

psql() { "$bindir/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }

start_server() {
  unset PORT
  CONF="max_worker_processes=24 shared_buffers=1GB max_wal_size=4GB autovacuum=off max_locks_per_transaction=256" \
    scripts/server.sh start bench >/dev/null
  export PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres
  PGPORT=$(cat build/servers/bench/port)
  export PGPORT
  postmaster=$(head -n 1 build/servers/bench/data/postmaster.pid)
  idle=$(processes)
}

kinds=(snapshot apply floor memory latency overlap merge fetch)
for file in data measure "${kinds[@]}"; do
  # shellcheck source=/dev/null
  . "$here/$file.sh"
done

# The cases that match the patterns, in the order of the kinds.
choose() {
  local kind case pattern
  for kind in "${kinds[@]}"; do
    for case in $("cases_$kind"); do
      for pattern in "${@:-*}"; do
        # shellcheck disable=SC2053  # a pattern it is
        if [[ $case == $pattern ]]; then echo "$case"; break; fi
      done
    done
  done
}

mapfile -t chosen < <(choose "$@")
[ "${#chosen[@]}" -gt 0 ] || { printf 'bench: no case is like %s\n' "$*" >&2; exit 1; }

start_server
print_header
for case in "${chosen[@]}"; do
  IFS=: read -r kind dataset codec workers <<<"$case"
  use_dataset "$dataset"
  "run_$kind" "$dataset" "$codec" "$workers"
done
