# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# Taking turns, and the table that is printed.

# CPU seconds of the server so far: its own, and those of processes that it has reaped.
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
  psql -c checkpoint
  settle
  before=$(server_cpu)
  TIMEFORMAT='%R %U %S'
  { time "$@" >/dev/null 2>"$work/err"; } 2>"$work/time" || { cat "$work/err" >&2; exit 1; }
  settle
  after=$(server_cpu)
  awk -v a="$before" -v b="$after" '{ print $1, $2 + $3 + b - a }' "$work/time" >>"$work/$label"
}

# compare KIND DATA CODEC WORKERS: runs both sides in turns and prints a row
compare() {
  local kind=$1
  shift
  rm -f "$work/ours" "$work/peer"
  for run in $(seq "${RUNS:-5}"); do
    measure ours "ours_$kind" "$@"
    measure peer "peer_$kind" "$@"
    "clean_$kind" "$run" "$@"
  done
  print_row "$kind" "$@"
}

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
median_of() { cut -d ' ' -f "$2" "$work/$1" | median; }

print_header() {
  printf '%-8s %-8s %-5s %-7s | %9s %8s %5s | %9s %8s %5s\n' \
    case data codec workers 'wall s' peer ratio 'CPU s' peer ratio
}

print_row() {
  awk -v name="$(printf '%-8s %-8s %-5s %-7s' "$@")" \
    -v a="$(median_of ours 1)" -v b="$(median_of peer 1)" -v c="$(median_of ours 2)" -v d="$(median_of peer 2)" \
    'BEGIN { printf "%s | %9.2f %8.2f %5.2f | %9.2f %8.2f %5.2f\n", name, a, b, a / b, c, d, c / d }'
}
