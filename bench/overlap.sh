# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# Comparing the rows of two servers on this machine: dataset, key, and how many of the rows differ. Beside it (a) one
# scan with hash_record_extended on each side at the same time, which is what reading costs, and (b) the naive
# way: every key and md5 of the row fetched over dblink, and a full join. Key "both" is "int" where both sides have
# steep_repl; elsewhere only this one has it.

cases_overlap() {
  local dataset differing
  for dataset in two_million twenty_million; do
    # what differs goes on to do so
    for differing in 0 10 10000 tenth; do echo "overlap:$dataset:both:$differing overlap:$dataset:int:$differing"; done
  done
  for differing in 0 10 10000; do echo "overlap:two_million:numeric:$differing"; done
}

fill_two_million() { fill_overlap 2000000; }
fill_twenty_million() { fill_overlap 20000000; }

# The same rows on both servers. The wide table for 2 million rows; for more, narrower ones.
fill_overlap() {
  local columns="repeat(md5((g % 1000)::text), 3) as words, jsonb_build_object('user', (random() * 1e6)::int, 'tags', array[md5(random()::text), 'fixed']) as doc,"
  [ "$1" -le 2000000 ] || columns="md5(g::text) as words,"
  psql <<SQL
select setseed(0.5);
create table by_int as
select g as id, $columns timestamptz '2026-01-01' + random() * interval '1 year' as at, (random() * 1e12)::numeric(20, 6) as amount
from generate_series(1, $1) g;
alter table by_int add primary key (id);
vacuum analyze by_int;
SQL
  [ "$1" -gt 2000000 ] || psql <<'SQL'
create table by_numeric as select id::numeric as id, words, doc, at, amount from by_int;
alter table by_numeric add primary key (id);
vacuum analyze by_numeric;
SQL
}

# The second server, with the same data.
use_peer() {
  if [ -z "${peer_port:-}" ]; then
    CONF="max_worker_processes=24 shared_buffers=1GB max_wal_size=4GB autovacuum=off" scripts/server.sh start bench-peer >/dev/null
    peer_port=$(cat build/servers/bench-peer/port)
  fi
  if [ -z "$(on_peer psql -d postgres -c "select 1 from pg_database where datname = '$1'")" ]; then
    on_peer psql -d postgres -c "create database $1"
    on_peer "fill_$1" >/dev/null
  fi
}

on_peer() { PGPORT=$peer_port "$@"; }

# Makes so many rows differ: 0, a number, or a tenth of all.
make_differ() {
  local rows step
  rows=$(psql -c "select count(*) from $1")
  case $2 in
    0) return ;;
    tenth) step=10 ;;
    *) step=$((rows / $2)) ;;
  esac
  on_peer psql -c "update $1 set words = words || 'x' where id % $step = 0 and right(words, 1) <> 'x'" -c "vacuum $1"
}

# seconds COMMAND...
seconds() {
  TIMEFORMAT=%R
  { time "$@" >/dev/null 2>"$work/err"; } 2>"$work/time" || { cat "$work/err" >&2; exit 1; }
  cat "$work/time"
}

# Bytes over the loopback device, on which both servers and we are.
wire() { awk '/^ *lo:/ { sub(/.*:/, ""); print $1 }' /proc/net/dev; }

overlap() {
  psql -c "set application_name = 'compare'; select * from steep_repl.analyze_overlap('$peer', '{public.$1}')"
}

one_scan() {
  local sql
  sql="select bit_xor(hash_record_extended(row($(psql -c "select string_agg('t.' || attname, ', ' order by attname) from pg_attribute where attrelid = '$1'::regclass and attnum > 0")), 0)) from $1 t"
  psql -c "$sql" &
  on_peer psql -c "$sql"
  wait $!
}

naive() {
  psql -c "select count(*) from (select id, md5(t::text) as m from $1 t) l full join dblink('$peer', 'select id, md5(t::text) from $1 t') r(id numeric, m text) on l.id = r.id where l.m is distinct from r.m"
}

# The most private memory that the comparing session has, in KB.
overlap_memory() {
  local client pid='' peak
  overlap "$1" >/dev/null &
  client=$!
  until [ -n "$pid" ]; do
    kill -0 "$client" 2>/dev/null || break
    pid=$(psql -c "select pid from pg_stat_activity where application_name = 'compare'")
  done
  peak=${pid:+$(watch_memory "$pid")}
  wait "$client"
  echo "${peak:-0}"
}

run_overlap() {
  local table=by_$2 before run bytes memory
  use_peer "$1"
  if [ "$2" = both ]; then
    table=by_int
    on_peer psql -c "set client_min_messages = warning" -c "create extension if not exists steep_repl cascade"
  else
    on_peer psql -c "set client_min_messages = warning" -c "drop extension if exists steep_repl"
  fi
  peer="host=127.0.0.1 port=$peer_port user=postgres dbname=$1"
  make_differ "$table" "$3"
  rm -f "$work"/{ours,scan,naive}
  for run in $(seq "${RUNS:-5}"); do
    seconds overlap "$table" >>"$work/ours"
    seconds one_scan "$table" >>"$work/scan"
    # once is enough to see by how much it is slower
    [ "$run" -gt 1 ] || seconds naive "$table" >>"$work/naive"
  done
  before=$(wire)
  overlap "$table" >/dev/null
  bytes=$(($(wire) - before))
  memory=$(overlap_memory "$table")
  awk -v name="$(printf '%-8s %-14s %-7s %-6s' overlap "$@")" -v o="$(median_of ours 1)" -v s="$(median_of scan 1)" \
    -v n="$(median_of naive 1)" -v w="$bytes" -v t="$(psql -c "select pg_relation_size('$table')")" -v m="$memory" \
    -v r="$(psql -c "select count(*) from $table")" \
    'BEGIN { printf "%s | %7.2f s, %.2f M rows/s | scan %7.2f s: %.2f | naive %7.2f s: %.2f | %9.1f kB on the wire, %.3f %% of the table | %.1f MB\n",
             name, o, r / o / 1e6, s, o / s, n, o / n, w / 1024, 100 * w / t, m / 1024 }'
}
