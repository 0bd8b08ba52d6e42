# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# The most private memory that a copy worker and an applier have: shared buffers do not count. It must not grow with
# the number of rows, and not beyond 4 times the largest row.

cases_memory() {
  echo memory:memory:zstd:1
  echo memory:memory:none:1
}

# The first worker of a kind: copy or apply
first_worker() {
  psql -c "select pid from pg_stat_activity where application_name like 'steep\_repl % $1 1'"
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

# peak_memory WORKER COMMAND...: of the first worker that the command's job starts, in KB; 0 where it
# was over too soon to be seen
peak_memory() {
  local worker=$1 pid='' client peak
  shift
  "$@" >/dev/null 2>"$work/err" &
  client=$!
  until [ -n "$pid" ]; do
    kill -0 "$client" 2>/dev/null || break
    pid=$(first_worker "$worker")
  done
  peak=${pid:+$(watch_memory "$pid")}
  wait "$client" || cat "$work/err" >&2
  echo "${peak:-0}"
}

# peaks TABLE CODEC: of copying a table and of applying it, in KB, into the file peaks.TABLE
peaks() {
  peak_memory copy snapshot archive "$2" 1 "{public.$1}" >"$work/peaks.$1"
  psql -d postgres -c 'create database applied'
  psql -d applied -c 'create extension steep_repl'
  peak_memory apply apply applied 1 >>"$work/peaks.$1"
  psql -d postgres -c 'drop database applied'
  drop_snapshots
}

# peak TABLE WORKER: what was found, copy or apply
peak() {
  if [ "$2" = copy ]; then head -n 1 "$work/peaks.$1"; else tail -n 1 "$work/peaks.$1"; fi
}

print_memory() {
  awk -v name="$(printf '%-8s %-8s %-5s' memory "$1" "$2")" -v a="$3" -v what="$4" -v b="$5" \
    'BEGIN { printf "%s         | %6.1f MB beside %s %.1f MB: %.2f\n", name, a / 1024, what, b / 1024, (b > 0 ? a / b : 0) }'
}

run_memory() {
  local table worker
  for table in wide_1m wide_10m field; do peaks "$table" "$2"; done
  for worker in copy apply; do
    print_memory "$worker" "$2" "$(peak wide_10m "$worker")" '10M rows, 1M rows with' "$(peak wide_1m "$worker")"
    print_memory "$worker" "$2" "$(peak field "$worker")" 'a field of 200 MB, the field with' $((200 * 1024))
  done
}
