#!/usr/bin/env bash
# Make a pair as a DBA would, all by the command line: one node with data and an empty server become two nodes that both
# take writes, while the first is written to. Then the line between them is cut, both go on, and one call makes them equal.
#
# Environment: JS, the engine (plv8 or pljs); SCALE, pgbench's scale (default 10, 1 million accounts).
set -euo pipefail
cd "$(dirname "$0")/.."

bindir=$("$(scripts/find-pg.sh)" --bindir)
work=$(mktemp -d)
writer=

finish() {
  [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
  scripts/server.sh stop demo-a || true
  scripts/server.sh stop demo-b || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || title() { printf '\n-- %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

port() { cat "build/servers/$1/port"; }
conninfo() { echo "host=127.0.0.1 port=$(port "$1") user=postgres dbname=demo"; }
psql() { "$bindir/psql" -X -q -P pager=off -v ON_ERROR_STOP=1 -d "$(conninfo "$node")" "$@"; }
value() { psql -At -c "$1"; }

# Show a statement as it is typed, then what it says. It goes to the server that $node names.
sql() {
  printf '%s=# %s\n' "$node" "$1"
  psql -c "$1"
}

# Show a command as it is typed, and run it. The PG* variables lead to the first node.
steep-repl() {
  printf '$ steep-repl %s\n' "$*"
  PGHOST=127.0.0.1 PGPORT=$(port demo-a) PGUSER=postgres PGDATABASE=demo node build/cli/steep-repl.cjs "$@"
}

# Poll until a query on $node answers t.
await() {
  for ((tries = 300; tries > 0; tries--)); do
    [ "$(value "$1")" != t ] || return 0
    sleep 0.1
  done
  fail "not within 30 s: $1"
}

# Nothing differs between the nodes, in any table of the pair.
expect_equal() {
  node=demo-a
  sql "SELECT table_name, local_only_count, remote_only_count, conflict_count, match_count FROM steep_repl.analyze_overlap('node_b', NULL)"
  [ "$(value "select sum(local_only_count + remote_only_count + conflict_count + unsettled_count) from steep_repl.analyze_overlap('node_b', null)")" = 0 ] ||
    fail "rows differ"
}

# ---- two servers, one of which has data

title "A server with pgbench's tables and a small shop, and an empty one"
unset PORT
for name in demo-a demo-b; do
  scripts/server.sh remove "$name"
  CONF="max_worker_processes=24 track_commit_timestamp=on" scripts/server.sh start "$name" >"$work/start"
  grep -E '^server|connect|log' "$work/start"
  "$bindir/createdb" -h 127.0.0.1 -U postgres -p "$(port "$name")" demo
done
node=demo-a
"$bindir/pgbench" -i -q -s "${SCALE:-10}" -d "$(conninfo demo-a)" >"$work/pgbench" 2>&1 || { cat "$work/pgbench"; exit 1; }
psql -f test/fixtures/shop.sql
# it has no key, so that its rows could not be compared
psql -c 'drop table shop.price_history cascade'
value "select format('%s tables, %s', count(*), pg_size_pretty(pg_database_size(current_database())))
       from pg_class where relkind = 'r' and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"

# ---- what is missing

title "Let them know each other, and ask what stands in the way"
steep-repl pair check node_b --peer "$(conninfo demo-b)" --local-name node_a --yes || echo "exit code $?"

title "Do what it says"
sql "ALTER TABLE pgbench_history ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
sql "ALTER TABLE shop.page_views ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
steep-repl pair check node_b

# ---- the pair

title "Make the pair, while the first node is written to"
"$bindir/pgbench" -n -c 2 -T 600 -R 100 -d "$(conninfo demo-a)" >"$work/writer" 2>&1 &
writer=$!
steep-repl pair start node_b --yes || fail "the pair was not made; the servers' logs are build/servers/demo-*/log"
kill "$writer"
wait "$writer" 2>/dev/null || true
writer=
value "select format('%s transactions have been written meanwhile', count(*)) from pgbench_history"

title "Both take writes now, and never hand out the same number"
sql "INSERT INTO shop.customers (email, name) VALUES ('ada@a.example', 'Ada') RETURNING id, name"
node=demo-b
sql "INSERT INTO shop.customers (email, name) VALUES ('bob@b.example', 'Bob') RETURNING id, name"
for node in demo-a demo-b; do
  await "select count(*) = 2 from shop.customers where name in ('Ada', 'Bob')"
  sql "SELECT id, name FROM shop.customers WHERE name IN ('Ada', 'Bob') ORDER BY id"
done
sql "SELECT subname, subenabled, suborigin FROM pg_subscription"
expect_equal

# ---- what goes wrong, and what repairs it

title "The line is cut, and both nodes go on"
node=demo-a
sql "ALTER SUBSCRIPTION steep_node_a_from_node_b DISABLE"
node=demo-b
sql "ALTER SUBSCRIPTION steep_node_b_from_node_a DISABLE"
node=demo-a
sql "UPDATE shop.customers SET name = 'Ada of A' WHERE name = 'Ada'"
sql "UPDATE pgbench_accounts SET abalance = -1 WHERE aid = 50000"
node=demo-b
sql "UPDATE shop.customers SET name = 'Ada of B' WHERE name = 'Ada'"
sql "DELETE FROM pgbench_history WHERE id IN (SELECT id FROM pgbench_history ORDER BY id LIMIT 3)"
sql "INSERT INTO pgbench_branches VALUES (1000000, 0, 'only here')"
steep-repl analyze-overlap node_b --tables shop.customers,public.pgbench_accounts,public.pgbench_branches,public.pgbench_history ||
  echo "exit code $?"

title "One call makes them equal, and has them replicate again"
steep-repl pair start node_b --existing merge --yes || fail "the pair was not repaired"
node=demo-a
sql "SELECT table_name, action, count(*) FROM steep_repl.merge_audit_log GROUP BY 1, 2 ORDER BY 1, 2"
expect_equal
node=demo-b
[ "$(value "select name from shop.customers where email = 'ada@a.example'")" = "Ada of A" ] ||
  fail "the rows from here have not won"

title "Both are a pair again; this is how it ends"
steep-repl pair drop node_b --yes
