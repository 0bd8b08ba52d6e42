# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of run.sh
# What is measured: databases, filled when a case first needs them.

fill_pgbench() {
  "$bindir/pgbench" -i -q -s "${SCALE:-50}" >"$work/pgbench" 2>&1 || { cat "$work/pgbench"; exit 1; }
}

# One large table.
fill_wide() {
  psql -v rows="${ROWS:-2000000}" <<'SQL'
select setseed(0.5);
create table wide as
select g as id, timestamptz '2026-01-01' + random() * interval '1 year' as at,
       jsonb_build_object('user', (random() * 1e6)::int, 'tags', array[md5(random()::text), 'fixed'], 'score', random()) as doc,
       (random() * 1e12)::numeric(20, 6) as amount, repeat(md5((g % 1000)::text), 3) as words
from generate_series(1, :rows) g;
alter table wide add primary key (id);
create index on wide (at);
create index on wide (amount);
SQL
}

fill_small() {
  psql <<'SQL'
do $$ begin
  for i in 1..2000 loop
    execute format('create table small_%s (id int primary key, words text)', i);
    execute format('insert into small_%s select g, md5(g::text) from generate_series(1, 50) g', i);
    if i % 100 = 0 then commit; end if;
  end loop;
end $$;
SQL
}

# Tables of the same rows, one ten times as long, and one with a single field of 200 MB.
fill_memory() {
  ROWS=1000000 fill_wide
  psql <<'SQL'
alter table wide rename to wide_1m;
create table wide_10m as select wide_1m.* from wide_1m, generate_series(1, 10);
create table field (doc text);
alter table field alter doc set storage external;
insert into field select string_agg(md5(g::text), '') from generate_series(1, 200 * 1024 * 1024 / 32) g;
SQL
}

fill_latency() {
  psql -c 'create table one_row as select 1 as id'
}

use_dataset() {
  export PGDATABASE=$1
  if [ -z "$(psql -d postgres -c "select 1 from pg_database where datname = '$1'")" ]; then
    psql -d postgres -c "create database $1"
    "fill_$1" >/dev/null
    psql -c 'create extension steep_repl; analyze; checkpoint'
  fi
}
