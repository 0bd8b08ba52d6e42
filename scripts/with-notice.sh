#!/bin/sh
# Say what a command that prints nothing does, and that it is still at it; show what it printed if it fails.
#
#   usage: scripts/with-notice.sh TEXT COMMAND [ARGUMENT...]
set -u
text=$1
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf '%s ...' "$text" >&2
"$@" >"$log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; exit 130' INT TERM
began=$(date +%s)
shown=$began
while kill -0 "$pid" 2>/dev/null; do
  sleep 0.2
  now=$(date +%s)
  if [ $((now - shown)) -ge 5 ]; then
    printf ' %s s' $((now - began)) >&2
    shown=$now
  fi
done
if wait "$pid"; then
  printf ' done\n' >&2
else
  status=$?
  printf ' failed\n' >&2
  cat "$log" >&2
  exit "$status"
fi
