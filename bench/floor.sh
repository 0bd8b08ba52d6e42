# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# One table with one worker beside what cannot be had for less: the server's COPY to nowhere, and the
# zstd program on the same text.

cases_floor() {
  if ! command -v zstd >/dev/null; then
    echo "bench: no zstd program, so nothing is compared with the floor" >&2
    return
  fi
  echo floor:pgbench:zstd:1
  echo floor:wide:zstd:1
}

floor_table() {
  case $1 in
    pgbench) echo pgbench_accounts ;;
    *) echo "$1" ;;
  esac
}

run_floor() {
  psql -c "copy $(floor_table "$1") to stdout" >"$work/text"
  compare floor "$@"
  rm -f "$work/text"
}

ours_floor() { snapshot run "$2" 1 "{public.$(floor_table "$1")}"; }

peer_floor() {
  psql -c "copy $(floor_table "$1") to '/dev/null'"
  zstd -q -3 --single-thread -c "$work/text"
}

clean_floor() { drop_snapshots; }
