#!/bin/sh
# In a stage that is thrown away: what compiling the shared library takes.
set -eu
: "${APT_OPTIONS=}"

# shellcheck disable=SC2086 # options are words
apt_get() { DEBIAN_FRONTEND=noninteractive apt-get $APT_OPTIONS "$@"; }

apt_get update -qq
apt_get install -y -qq --no-install-recommends make gcc libc6-dev libpq-dev libzstd-dev liblz4-dev zlib1g-dev >/dev/null
# Only the headers are needed of it: what it depends on is clang and LLVM, a gigabyte.
if [ ! -f "$(pg_config --includedir-server)/postgres.h" ]; then
  cd /tmp
  apt_get download -qq postgresql-server-dev-18
  dpkg-deb -x postgresql-server-dev-18_*.deb /
fi
