#!/bin/sh
# Print the lines for postgresql.conf with which a server finds the staged steep_repl, which is
# installed nowhere.
#
#   usage: scripts/stage-settings.sh ENGINE      (plv8 or pljs; `make stage` must have run)
set -eu

stage=$(cd "$(dirname "$0")/.." && pwd)/build/stage/$1
pg_config=$("$(dirname "$0")/find-pg.sh")
[ -f "$stage/.done" ] || { echo "stage-settings: nothing is staged for $1: run make stage JS=$1" >&2; exit 1; }

echo "extension_control_path = '\$system:$stage$("$pg_config" --sharedir)'"
echo "dynamic_library_path = '\$libdir:$stage$("$pg_config" --pkglibdir)'"
