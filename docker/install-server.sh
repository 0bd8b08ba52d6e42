#!/bin/sh
# In the image: PostgreSQL 18 and the JavaScript language, where the base image does not have them, and
# the directories that are volumes.
set -eu
: "${APT_OPTIONS=}"

# shellcheck disable=SC2086 # options are words
install() {
  apt-get $APT_OPTIONS update -qq
  DEBIAN_FRONTEND=noninteractive apt-get $APT_OPTIONS install -y -qq --no-install-recommends "$@" >/dev/null
  apt-get clean
  rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log
}

# the ids that people know from other images of PostgreSQL, for those who mount directories
id postgres >/dev/null 2>&1 || {
  groupadd --system --gid 999 postgres
  useradd --system --uid 999 --gid postgres --home-dir /var/lib/postgresql --shell /bin/bash postgres
}

# Debian's package would make a cluster of its own
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] ||
  echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf

postgres --version 2>/dev/null | grep -q '(PostgreSQL) 18' || install postgresql-18
extensions=$(pg_config --sharedir)/extension
[ -e "$extensions/$JS.control" ] || [ "$JS" != pljs ] || install postgresql-18-pljs
[ -e "$extensions/$JS.control" ] || {
  echo "the base image has no $JS: $extensions/$JS.control is missing" >&2
  exit 1
}

for directory in /var/lib/postgresql /var/run/postgresql /snapshots; do
  mkdir -p "$directory"
  chown postgres:postgres "$directory"
done
chmod 700 /snapshots
mkdir -p /docker-entrypoint-initdb.d
