#!/bin/sh
# In a container: build Debian's package from the zip.
#   usage: build-deb.sh ZIP DIR      the .deb goes to DIR
set -eu

if command -v node || command -v npm; then echo "there is a Node.js here" >&2; exit 1; fi
mkdir -p /tmp/build && cd /tmp/build
unzip -q "$1"
cd steep_repl-*
dpkg-buildpackage -us -uc -b >/tmp/log 2>&1 || { tail -n 40 /tmp/log; exit 1; }
grep -E '^dpkg-shlibdeps: warning|warning:' /tmp/log || true
dpkg-deb -I ../postgresql-18-steep-repl_*.deb | sed -n '/^ Package/,/^ Section/p'
cp ../postgresql-18-steep-repl_*.deb "$2"
