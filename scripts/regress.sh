#!/usr/bin/env bash
# make installcheck on a server of its own, which starts empty and is removed afterwards.
#
# Environment: JS, the engine (plv8 or pljs).
set -euo pipefail
cd "$(dirname "$0")/.."

unset PORT
scripts/server.sh remove regress
trap 'scripts/server.sh remove regress' EXIT
scripts/server.sh start regress >/dev/null
mkdir -p build/regress

PGHOST=127.0.0.1 PGPORT=$(cat build/servers/regress/port) PGUSER=postgres \
  make --no-print-directory installcheck JS="$JS" ||
  { cat build/regress/regression.diffs >&2; exit 1; }
