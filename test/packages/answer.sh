#!/bin/sh
# In a container: start the cluster that Debian's package has made, with steep_repl, and have it answer.
set -eu

cat >/etc/postgresql/18/main/conf.d/steep_repl.conf <<'CONF'
shared_preload_libraries = 'steep_repl'
CONF
pg_ctlcluster 18 main start
ask() { su postgres -c "psql -XAtq -v ON_ERROR_STOP=1 shop" 2>&1; }
su postgres -c 'createdb shop'
ask <<'SQL'
CREATE EXTENSION steep_repl CASCADE;
CREATE TABLE orders AS SELECT g AS id, g / 7.0 AS amount FROM generate_series(1, 1000) g;
SELECT snapshot_id FROM steep_repl.start_snapshot('/tmp/first') \gset
SELECT status, rows_written FROM steep_repl.wait_snapshot(:'snapshot_id');
SQL
status=$(echo 'SELECT status FROM steep_repl.health();' | ask)
pg_ctlcluster 18 main stop
echo "health() says: $status"
[ "$status" = healthy ]
