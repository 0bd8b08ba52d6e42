# shellcheck shell=bash
# The most private memory that a copy worker has: shared buffers do not count. It must not grow with
# the number of rows, and not beyond 4 times the largest row.

cases_memory() {
  echo memory:memory:zstd:1
  echo memory:memory:none:1
}

copy_worker() {
  psql -c "select pid from pg_stat_activity where application_name like 'steep\_repl % copy 1'"
}

# Samples a process until it ends; without starting programs, so that little is missed.
watch_memory() {
  local key value rest peak=0
  while [ -d "/proc/$1" ]; do
    while read -r key value rest; do
      if [ "$key" = RssAnon: ] && [ "$value" -gt "$peak" ]; then peak=$value; fi
    done 2>/dev/null <"/proc/$1/status" || true
  done
  echo "$peak"
}

# peak_memory TABLE CODEC: in KB
peak_memory() {
  local pid='' client
  snapshot run "$2" 1 "{public.$1}" >/dev/null 2>"$work/err" &
  client=$!
  until [ -n "$pid" ]; do
    kill -0 "$client" 2>/dev/null || { cat "$work/err" >&2; exit 1; }
    pid=$(copy_worker)
  done
  watch_memory "$pid"
  wait "$client" || { cat "$work/err" >&2; exit 1; }
  drop_snapshots
}

print_memory() {
  awk -v name="$(printf '%-8s %-8s %-5s' "$1" "$2" "$3")" -v a="$4" -v what="$5" -v b="$6" \
    'BEGIN { printf "%s         | %6.1f MB beside %s %.1f MB: %.2f\n", name, a / 1024, what, b / 1024, a / b }'
}

run_memory() {
  local short long field
  short=$(peak_memory wide_1m "$2")
  long=$(peak_memory wide_10m "$2")
  field=$(peak_memory field "$2")
  print_memory memory '10M rows' "$2" "$long" '1M rows with' "$short"
  print_memory memory '1 field' "$2" "$field" 'the row itself with' $((200 * 1024))
}
