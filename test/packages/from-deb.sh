#!/bin/sh
# In a container with nothing in it: install the package, with what it depends on.
#   usage: from-deb.sh DIR [APT-OPTION...]
set -eu

directory=$1
shift
apt-get "$@" update -qq
DEBIAN_FRONTEND=noninteractive apt-get "$@" install -y -qq --no-install-recommends \
  "$directory"/postgresql-18-steep-repl_*.deb >/tmp/log 2>&1 || { tail -n 40 /tmp/log; exit 1; }
dpkg -s postgresql-18-steep-repl | grep -E '^(Status|Version)'
