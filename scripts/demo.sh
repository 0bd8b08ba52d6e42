#!/usr/bin/env bash
# Copy a database as a DBA would: register this node, take a snapshot while watching it, verify it,
# apply it to a second server and restore it with stock pg_restore, show that both copies are equal,
# table by table, and then how rows differ after changes on one of the two servers.
#
# Environment: JS, the engine (plv8 or pljs); SCALE, pgbench's scale (default 10, 1 million accounts).
set -euo pipefail
cd "$(dirname "$0")/.."

bindir=$("$(scripts/find-pg.sh)" --bindir)
work=$(mktemp -d)
listener=

finish() {
  [ -z "$listener" ] || kill "$listener" 2>/dev/null || true
  scripts/server.sh stop demo || true
  scripts/server.sh stop demo-b || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || title() { printf '\n-- %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Statements go to the server named in $node, and there to the database named in $database.
node=demo
port() { cat "build/servers/$1/port"; }
connect=(-h 127.0.0.1 -U postgres)
psql() { "$bindir/psql" -X -q -P pager=off "${connect[@]}" -p "$(port "$node")" -v ON_ERROR_STOP=1 -d "${database:-demo}" "$@"; }
value() { psql -At -c "$1"; }

# Show a statement as it is typed, then what it says.
sql() {
  printf '%s=# %s\n' "$node" "$1"
  psql "${@:2}" -c "$1"
}

# ---- a server with something to copy

title "A new server, with pgbench's tables and a small shop"
scripts/server.sh remove demo
unset PORT
CONF="max_worker_processes=16" scripts/server.sh start demo
connect_demo=("${connect[@]}" -p "$(port demo)")
snapshots=$PWD/build/servers/demo/snapshots
database=postgres psql -c 'create database demo'
"$bindir/pgbench" "${connect_demo[@]}" -i -q -s "${SCALE:-10}" demo >"$work/pgbench" 2>&1 || { cat "$work/pgbench"; exit 1; }
psql -f test/fixtures/shop.sql
value "select format('%s tables, %s', count(*), pg_size_pretty(pg_database_size(current_database())))
       from pg_class where relkind = 'r' and relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"

title "Install, and say who this node is"
sql 'CREATE EXTENSION IF NOT EXISTS steep_repl'
sql "SELECT node_id, node_name, host, port FROM steep_repl.register_node('demo-1', 'Demo node', '127.0.0.1', $(port demo))"

# ---- the snapshot, watched in two ways

# psql prints notifications when a statement ends, so this one keeps asking
listen() {
  { echo 'listen steep_repl_progress;'
    while sleep 0.2; do echo 'select 1 \g /dev/null' || exit; done
  } | psql >"$work/notifications" 2>&1
}
listen &
listener=$!

progress_bar() {
  local phase percent copied total table state last='' blocks
  while :; do
    IFS='|' read -r phase percent copied total table < <(value "
      select phase, coalesce(round(overall_percent), 0), tables_completed, tables_total,
             translate(current_table, E'|\n', '  ')
      from steep_repl.snapshot_progress('$1')") || true
    state=$(value "select status from steep_repl.snapshots where snapshot_id = '$1'")
    if [ -t 1 ]; then
      blocks=$((${percent:-0} * 30 / 100))
      printf '\r\033[K[%-30s] %3d%%  %-10s %s/%s %s' "$(printf '%*s' "$blocks" '' | tr ' ' '#')" \
        "${percent:-0}" "$phase" "${copied:-0}" "${total:-?}" "$table"
    elif [ "$phase $percent" != "$last" ]; then
      last="$phase $percent"
      printf '%3d%%  %-10s %s of %s tables  %s\n' "${percent:-0}" "$phase" "${copied:-0}" "${total:-?}" "$table"
    fi
    case $state in complete | failed | cancelled) break ;; esac
    sleep 0.1
  done
  [ ! -t 1 ] || echo
}

title "Take a snapshot with four copy workers"
path=$snapshots/first
# shellcheck disable=SC2016 # printed as typed
echo "demo=# LISTEN steep_repl_progress; SELECT snapshot_id FROM steep_repl.start_snapshot('$path', parallel => 4)"
id=$(value "select snapshot_id from steep_repl.start_snapshot('$path', parallel => 4)")
echo "$id"
progress_bar "$id"
sql "SELECT status, phase, table_count, rows_written, pg_size_pretty(bytes_processed) AS read, pg_size_pretty(size_bytes) AS stored, lsn, completed_at - started_at AS took, error_message FROM steep_repl.wait_snapshot('$id')" -x
[ "$(value "select status from steep_repl.snapshots where snapshot_id = '$id'")" = complete ] ||
  fail "the snapshot did not complete; the server's log is build/servers/demo/log"

last_notification() { grep -a 'Asynchronous notification' "$work/notifications" | grep -a '"complete"'; }
for ((tries = 50; tries > 0; tries--)); do
  last_notification >/dev/null && break
  sleep 0.1
done
kill "$listener" 2>/dev/null || true
listener=
echo "What LISTEN saw, the last of $(grep -ac 'Asynchronous notification' "$work/notifications" || true) notifications:"
last_notification || fail "no notification told of the end"

title "Read every byte of it again"
sql "SELECT * FROM steep_repl.verify_snapshot('$path')"
[ "$(value "select count(*) from steep_repl.verify_snapshot('$path')")" = 0 ] || fail "the snapshot is not sound"
sql "SELECT status, js_engine, active_operations, pending_operations, reasons FROM steep_repl.health()"
# shellcheck disable=SC2012 # names are ours, and ls writes sizes for people
(cd "$path" && ls -lhS | awk 'NR > 1 { print $5 "\t" $9 }' >"$work/files")
head -n 8 "$work/files"
[ "$(wc -l <"$work/files")" -le 8 ] || echo "... $(wc -l <"$work/files") files in all"

# ---- the copy

title "Apply it on a second server"
scripts/server.sh remove demo-b
CONF="max_worker_processes=16" scripts/server.sh start demo-b
node=demo-b
database=postgres psql -c 'create database demo'
sql 'CREATE EXTENSION IF NOT EXISTS steep_repl'
echo "demo-b=# SELECT snapshot_id FROM steep_repl.start_apply('$path', parallel => 4)"
id=$(value "select snapshot_id from steep_repl.start_apply('$path', parallel => 4)")
echo "$id"
progress_bar "$id"
sql "SELECT status, source_snapshot_id, table_count, rows_written, pg_size_pretty(bytes_processed) AS loaded, completed_at - started_at AS took, warnings, error_message FROM steep_repl.wait_snapshot('$id')" -x
[ "$(value "select status from steep_repl.snapshots where snapshot_id = '$id'")" = complete ] ||
  fail "the apply did not complete; the server's log is build/servers/demo-b/log"
node=demo

title "Restore it with pg_restore into a database that has no steep_repl"
database=postgres psql -c 'create database copy'
# With -j its workers may deadlock here: one attaches an index while one adds a foreign key.
echo "$ pg_restore -d copy $path"
"$bindir/pg_restore" "${connect_demo[@]}" --exit-on-error -d copy "$path"

# One line for each table, filled materialized view and sequence: kind, name, rows, and a digest that
# does not depend on the order of rows.
digests() {
  database=$1 psql -At -F ' | ' <<'SQL'
with relation as (
  select c.oid, c.relkind, c.relispopulated,
         translate(c.oid::regclass::text, E'\n|', '  ') as name
  from pg_class c
  where c.relkind in ('r', 'm', 'S') and c.relnamespace::regnamespace::text !~ '^pg_'
    and c.relnamespace not in (select oid from pg_namespace where nspname in ('information_schema', 'steep_repl'))
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                      and d.objid = c.oid and d.deptype = 'e')
)
select case when relkind = 'S'
       then format('select %L, last_value, is_called from %s', name, oid::regclass)
       when not relispopulated
       then format('select %L, %L, %L', name, '-', 'unfilled')
       else format('select %L, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) from only %s t',
                   name, oid::regclass)
       end
from relation order by relkind <> 'r', relkind <> 'm', name collate "C"
\gexec
SQL
}

title "Compare the three databases"
digests demo >"$work/demo"
digests copy >"$work/restored"
node=demo-b
digests demo >"$work/applied"
for copy in applied restored; do
  if ! diff "$work/demo" "$work/$copy" >"$work/difference"; then
    cat "$work/difference"
    fail "the $copy copy differs"
  fi
done
awk -F ' [|] ' 'BEGIN { printf "%-64s %12s  %s\n", "table, view or sequence", "rows | value", "digest | called" }
                { printf "%-64s %12s  %s\n", $1, $2, $3 }' "$work/applied"
echo
echo "All $(wc -l <"$work/applied") are equal in the three databases. The snapshot stays in $path"

# ---- how rows differ

title "Compare the rows of both nodes, as they are and after changes on the second"
node=demo
tables="'{public.pgbench_accounts,public.pgbench_branches,public.pgbench_tellers}'"
sql "SELECT node_id, host, port FROM steep_repl.register_node('demo-2', 'Second node', '127.0.0.1', $(port demo-b), dbname => 'demo', username => 'postgres')"
sql "SELECT * FROM steep_repl.analyze_overlap('demo-2', $tables)"
[ "$(value "select sum(local_only_count + remote_only_count + conflict_count + unsettled_count) from steep_repl.analyze_overlap('demo-2', $tables)")" = 0 ] ||
  fail "rows differ"

node=demo-b
sql "UPDATE pgbench_accounts SET abalance = 42 WHERE aid IN (1, 50000, 99999)"
sql "DELETE FROM pgbench_tellers WHERE tid = 7"
sql "INSERT INTO pgbench_branches VALUES (1000000, 0, 'only here')"
node=demo
echo "demo=# SELECT operation_id FROM steep_repl.start_overlap('demo-2', $tables)"
operation=$(value "select operation_id from steep_repl.start_overlap('demo-2', $tables)")
echo "$operation"
sql "SELECT status, error_message FROM steep_repl.wait_operation($operation)"
sql "SELECT t.table_name, t.local_only_count, t.remote_only_count, t.match_count, t.conflict_count FROM steep_repl.overlaps o JOIN steep_repl.overlap_tables t USING (overlap_id) WHERE o.operation_id = $operation ORDER BY 1"
sql "SELECT * FROM steep_repl.overlap_rows('demo-2', 'public.pgbench_accounts')"
[ "$(value "select local_only_count || ' ' || remote_only_count || ' ' || conflict_count from steep_repl.overlaps where operation_id = $operation")" = "1 1 3" ] ||
  fail "the counts are not those of the changes"

# ---- merging them

title "Merge both nodes, after changes on the first as well, and compare again"
sql "UPDATE pgbench_accounts SET abalance = -1 WHERE aid = 50000"
sql "INSERT INTO pgbench_branches VALUES (1000001, 0, 'only on the first')"
echo "demo=# SELECT merge_id FROM steep_repl.start_merge('demo-2', $tables, dry_run => true)"
merge=$(value "select merge_id from steep_repl.start_merge('demo-2', $tables, dry_run => true)")
sql "SELECT status, local_only_count, remote_only_count, conflict_count, rows_merged, error_message FROM steep_repl.wait_merge('$merge')"
echo "demo=# SELECT merge_id FROM steep_repl.start_merge('demo-2', $tables, strategy => 'prefer-remote')"
merge=$(value "select merge_id from steep_repl.start_merge('demo-2', $tables, strategy => 'prefer-remote')")
sql "SELECT status, local_only_count, remote_only_count, conflict_count, rows_merged, error_message FROM steep_repl.wait_merge('$merge')"
sql "SELECT action, count(*) FROM steep_repl.merge_audit_log WHERE merge_id = '$merge' GROUP BY 1 ORDER BY 1"
sql "SELECT table_name, key, action, local_row ->> 'abalance' AS here, remote_row ->> 'abalance' AS at_peer FROM steep_repl.merge_audit_log WHERE merge_id = '$merge' AND category = 'conflict' ORDER BY id"
sql "SELECT * FROM steep_repl.analyze_overlap('demo-2', $tables)"
[ "$(value "select sum(local_only_count + remote_only_count + conflict_count + unsettled_count) from steep_repl.analyze_overlap('demo-2', $tables)")" = 0 ] ||
  fail "rows differ after the merge"
[ "$(value "select rows_merged from steep_repl.merges where merge_id = '$merge'")" = 6 ] ||
  fail "the merge has not written what was changed"
