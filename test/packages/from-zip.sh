#!/bin/sh
# In a container: install from the zip as somebody would who has found it, and time that.
#   usage: from-zip.sh ZIP
set -eu

if command -v node || command -v npm; then echo "there is a Node.js here" >&2; exit 1; fi
cd /tmp
unzip -q "$1"
cd steep_repl-*
begin=$(date +%s%N)
make >/tmp/log 2>&1 && make install >>/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
echo "make and make install took $((($(date +%s%N) - begin) / 1000000)) ms"
if grep -i warning /tmp/log; then exit 1; fi
# what comes with the zip must be there after cleaning up, too
make -s clean
make -s install >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
