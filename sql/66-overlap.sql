-- How the rows of two databases differ. TypeScript plans a table (plv8/compare/overlap-plan.ts); here both
-- sides are asked at the same time, and their answers joined. ARCHITECTURE.md says how.

create type steep_repl._overlap_difference as (
  category text,
  key text[],
  local_digest bigint,
  peer_digest bigint
);
comment on type steep_repl._overlap_difference is 'private: a row that differs; category ''all'': how many rows each side has';

create function steep_repl._fill(gap jsonb, filling text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return (gap ->> 0) || filling || (gap ->> 1);
comment on function steep_repl._fill(jsonb, text) is 'private: a statement with its gap filled';

create function steep_repl._one_text(statement text) returns text
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer text;
begin
  execute statement into answer;
  return answer;
end
$fn$;
comment on function steep_repl._one_text(text) is 'private: what a statement of a plan answers on this side';

-- Starts a statement at the peer, runs its like here, and returns both answers.
create function steep_repl._on_both(connection text, local_statement text, peer_statement text, out here text, out there text)
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_send(connection, peer_statement);
  here := steep_repl._one_text(local_statement);
  there := steep_repl._peer_answer(connection);
end
$fn$;
comment on function steep_repl._on_both(text, text, text) is 'private: asks both sides at the same time';

-- How rows are put into buckets: the expression, and for ranges what is between them.
create function steep_repl._overlap_buckets(
  connection text, plan jsonb, out expression text, out boundaries text, out shift int)
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  ranges constant jsonb := nullif(plan -> 'ranges', 'null');
  quantiles record;
  keys text[];
  keys_per_bucket numeric;
begin
  if ranges is null then
    expression := plan ->> 'hash_bucket';
    return;
  end if;
  if ranges ->> 'boundaries' is not null then
    select * into quantiles from steep_repl._on_both(connection, plan -> 'local' ->> 'sample', plan -> 'peer' ->> 'sample');
    execute ranges ->> 'boundaries' into boundaries using quantiles.here, quantiles.there;
  end if;
  keys := boundaries::text[];
  if ranges -> 'is_integer' = 'true' and cardinality(keys) > 1 then
    keys_per_bucket := greatest(1, (keys[cardinality(keys)]::numeric - keys[1]::numeric) / (plan ->> 'buckets')::int);
    -- never more rows in a bucket than there are keys
    shift := case when keys_per_bucket <= 256 then ceil(log(2, keys_per_bucket))::int end;
  end if;
  expression := case when shift is not null then format('(%s >> %s)', ranges ->> 'key', shift)
                     else format('width_bucket(%s, %L::%s[])', ranges ->> 'key', coalesce(boundaries, '{}'), ranges ->> 'type') end;
end
$fn$;
comment on function steep_repl._overlap_buckets(text, jsonb) is 'private: how rows are put into buckets, from a sample of both sides';

-- STABLE, and each caller's statement is one query: so all that it reads here is of one snapshot, as all that
-- the peer reads is of one transaction.
create function steep_repl._overlap_differences(connection text, plan jsonb)
returns setof steep_repl._overlap_difference
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_group constant int := 20000;
  buckets record;
  counts record;
  differing record;
  windows text;
  local_rows refcursor;
  here text[];
  there text[];
begin
  select * into buckets from steep_repl._overlap_buckets(connection, plan);
  select * into counts from steep_repl._on_both(connection,
    steep_repl._fill(plan -> 'local' -> 'buckets', buckets.expression),
    steep_repl._fill(plan -> 'peer' -> 'buckets', buckets.expression));

  with l as (
    select * from unnest((counts.here::text[])[1]::int8[], (counts.here::text[])[2]::int8[], (counts.here::text[])[3]::int8[]) u(bucket, n, digest)),
  r as (
    select * from unnest((counts.there::text[])[1]::int8[], (counts.there::text[])[2]::int8[], (counts.there::text[])[3]::int8[]) u(bucket, n, digest)),
  d as (
    select bucket, coalesce(l.n, 0) as l, coalesce(r.n, 0) as r,
           ((sum(greatest(l.n, r.n)) over (order by bucket) - 1) / rows_of_group)::int as g
    from l full join r using (bucket)
    where l.digest is distinct from r.digest or l.n is distinct from r.n),
  g as (select g, sum(d.l) as l, sum(d.r) as r from d group by g)
  select (select coalesce(sum(n), 0) from l)::int8 as local_rows, (select coalesce(sum(n), 0) from r)::int8 as peer_rows,
         (select array_agg(bucket order by bucket) from d) as buckets, (select array_agg(g order by bucket) from d) as groups,
         (select array_agg(g.l > 0 order by g) from g) as is_here, (select array_agg(g.r > 0 order by g) from g) as is_there
  into differing;
  return next ('all', null, differing.local_rows, differing.peer_rows)::steep_repl._overlap_difference;
  if differing.buckets is null then
    return;
  end if;

  if buckets.shift is not null then
    execute plan -> 'ranges' ->> 'shifted_windows' into windows using differing.buckets, differing.groups, buckets.shift;
  elsif nullif(plan -> 'ranges', 'null') is not null then
    execute plan -> 'ranges' ->> 'windows' into windows using differing.buckets, differing.groups, buckets.boundaries;
  else
    windows := format('unnest(%L::int8[], %L::int[])', differing.buckets, differing.groups);
  end if;
  perform steep_repl._peer_command(connection, 'declare steep_repl_rows no scroll cursor for '
    || steep_repl._fill(plan -> 'peer' -> 'rows', windows));
  open local_rows no scroll for execute steep_repl._fill(plan -> 'local' -> 'rows', windows);
  for i in 1 .. cardinality(differing.is_here) loop
    here := null;
    there := null;
    if differing.is_there[i] then
      perform steep_repl._peer_send(connection, 'fetch 1 from steep_repl_rows');
    end if;
    if differing.is_here[i] then
      fetch local_rows into here;
    end if;
    if differing.is_there[i] then
      there := steep_repl._peer_answer(connection);
    end if;
    return query execute plan ->> 'join' using here, there;
  end loop;
  close local_rows;
  perform steep_repl._peer_command(connection, 'close steep_repl_rows');
end
$fn$;
comment on function steep_repl._overlap_differences(text, jsonb) is 'private: the rows of a table that differ between both sides, in one snapshot of each';

-- The arguments of start_overlap and analyze_overlap, checked; one row a table.
create function steep_repl._overlap_targets(
  tables text[], primary_keys jsonb, out no int, out schema_name text, out relation_name text, out name text, out key jsonb)
returns setof record
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
#variable_conflict use_column
declare
  found text;
  keys jsonb;
begin
  select string_agg(format('%L', t.name), ', ') into found from unnest(tables) t(name)
  where t.name is null or cardinality(parse_ident(t.name)) <> 2;
  if found is not null or cardinality(tables) = 0 then
    raise exception 'tables must be names of the form schema.table' using errcode = 'invalid_parameter_value',
      detail = case when found is null then 'It is an empty array.' else format('Not of that form: %s.', found) end,
      hint = 'Quote each name where SQL would quote it. NULL means all tables that both sides have.';
  end if;
  select string_agg(distinct t.name, ', ') into found
  from (select format('%I.%I', (parse_ident(t.name))[1], (parse_ident(t.name))[2]) as name from unnest(tables) t(name)) t
  group by t.name having count(*) > 1 limit 1;
  if found is not null then
    raise exception 'table % is named twice', found using errcode = 'invalid_parameter_value';
  end if;

  if primary_keys is not null and jsonb_typeof(primary_keys) <> 'object' then
    raise exception 'primary_keys must be an object of table to columns' using errcode = 'invalid_parameter_value',
      hint = 'Write it like {"public.t": ["column"]}.';
  end if;
  select string_agg(k.key, ', ') into found from jsonb_each(primary_keys) k
  where jsonb_typeof(k.value) <> 'array' or k.value = '[]' or cardinality(parse_ident(k.key)) <> 2
     or exists (select from jsonb_array_elements(case when jsonb_typeof(k.value) = 'array' then k.value else '[]' end) c(value)
                where jsonb_typeof(c.value) <> 'string');
  if found is not null then
    raise exception 'primary_keys must name columns of each table' using errcode = 'invalid_parameter_value',
      detail = format('They do not for: %s.', found), hint = 'Write it like {"public.t": ["column"]}.';
  end if;
  select jsonb_object_agg(format('%I.%I', (parse_ident(k.key))[1], (parse_ident(k.key))[2]), k.value)
  into keys from jsonb_each(primary_keys) k;
  select string_agg(k.name, ', ') into found from jsonb_object_keys(keys) k(name)
  where tables is not null and not exists (
    select from unnest(tables) t(name) where format('%I.%I', (parse_ident(t.name))[1], (parse_ident(t.name))[2]) = k.name);
  if found is not null then
    raise exception 'primary_keys names a table that is not compared: %', found using errcode = 'invalid_parameter_value';
  end if;

  return query
    select row_number() over (order by t.ordinality)::int, (parse_ident(t.name))[1], (parse_ident(t.name))[2], f.name, keys -> f.name
    from unnest(tables) with ordinality t(name, ordinality)
    cross join lateral (select format('%I.%I', (parse_ident(t.name))[1], (parse_ident(t.name))[2])) f(name);
end
$fn$;
comment on function steep_repl._overlap_targets(text[], jsonb) is 'private: the tables to compare and the keys given for them, or what is wrong with the arguments';

create function steep_repl._check_catch_up(catch_up_timeout interval) returns void
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if catch_up_timeout is null or catch_up_timeout < interval '0' then
    raise exception 'catch_up_timeout must not be null or negative' using errcode = 'invalid_parameter_value';
  end if;
end
$fn$;
comment on function steep_repl._check_catch_up(interval) is 'private: refuses a timeout that is none';

-- Plans all tables before the first is read, into a temporary table: what cannot be compared is said at once.
create function steep_repl._overlap_plans(connection text, tables text[], primary_keys jsonb) returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
set timezone = 'UTC' set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex'
set lc_monetary = 'C' set quote_all_identifiers = off set xmloption = 'content' set cursor_tuple_fraction = 1 set work_mem = '32MB' set enable_sort = off as $fn$
declare
  target record;
  facts jsonb;
  names text[] := tables;
  n int := 0;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'cannot compare in a transaction that is not READ COMMITTED'
      using errcode = 'object_not_in_prerequisite_state',
            detail = 'Rows that differ are looked at again, and such a transaction sees them as they were when it began.';
  end if;
  -- of an earlier call that failed, and was caught in the same transaction
  if to_regclass('pg_temp.steep_repl_plans') is not null then
    drop table pg_temp.steep_repl_plans, pg_temp.steep_repl_differences;
  end if;
  create temp table steep_repl_plans (no int primary key, plan jsonb not null) on commit preserve rows;
  create temp table steep_repl_differences (
    no int primary key, category text not null, key text[] not null, local_digest bigint, peer_digest bigint,
    is_settled boolean not null default false) on commit preserve rows;
  perform from steep_repl._overlap_targets(tables, primary_keys);
  if tables is null then
    execute format('select array_agg(l.name order by l.name) from (%s) l join jsonb_to_recordset($1) r(name text) using (name)',
                   steep_repl._overlap_tables_query())
      into names using steep_repl._peer_json(connection, steep_repl._overlap_tables_query());
  end if;
  for target in select * from steep_repl._overlap_targets(names, primary_keys) where names is not null loop
    execute format('select to_jsonb(f) from (%s) f', steep_repl._overlap_facts_query(target.schema_name, target.relation_name)) into facts;
    insert into pg_temp.steep_repl_plans values (target.no, steep_repl._call('overlap_plan', jsonb_build_object(
      'table', target.name, 'local', facts, 'key', target.key,
      'peer', steep_repl._peer_json(connection, steep_repl._overlap_facts_query(target.schema_name, target.relation_name)) -> 0)));
    n := n + 1;
  end loop;
  return n;
end
$fn$;
comment on function steep_repl._overlap_plans(text, text[], jsonb) is 'private: how each table is compared; how many there are';

-- What the caller says identifies a row has to, or counts would be wrong.
create function steep_repl._overlap_check_key(connection text, plan jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  side text;
  found jsonb;
begin
  foreach side in array array['local', 'peer'] loop
    continue when plan -> side ->> 'check' is null;
    if side = 'peer' then
      found := steep_repl._peer_json(connection, plan -> side ->> 'check') -> 0;
    else
      execute format('select to_jsonb(q) from (%s) q', plan -> side ->> 'check') into found;
    end if;
    if (found ->> 'nulls')::int8 + (found ->> 'duplicates')::int8 > 0 then
      raise exception '%columns (%) do not identify the rows of table %', case side when 'peer' then 'peer: ' else '' end,
        (select string_agg(k, ', ') from jsonb_array_elements_text(plan -> 'key') k), plan ->> 'table'
        using errcode = 'unique_violation',
              detail = format('%s rows have a NULL in them, and %s values occur more than once.', found ->> 'nulls', found ->> 'duplicates');
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._overlap_check_key(text, jsonb) is 'private: refuses a key that has NULLs or doubles';

-- Slots through which either side gets the other's changes: the subscriber knows a slot by its name only.
create function steep_repl._overlap_slots(connection text, out to_peer text[], out from_peer text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  subscriptions constant text := $sql$
    select s.subslotname::text as name from pg_subscription s
    where s.subslotname is not null and s.subdbid = (select d.oid from pg_database d where d.datname = current_database())$sql$;
  slots constant text := $sql$
    select s.slot_name::text as name from pg_replication_slots s
    where s.slot_type = 'logical' and s.database = current_database()$sql$;
begin
  execute format('select array_agg(s.name) from (%s) s join jsonb_to_recordset($1) p(name text) using (name)', slots)
    into to_peer using steep_repl._peer_json(connection, subscriptions);
  execute format('select array_agg(s.name) from (%s) s join jsonb_to_recordset($1) p(name text) using (name)', subscriptions)
    into from_peer using steep_repl._peer_json(connection, slots);
end
$fn$;
comment on function steep_repl._overlap_slots(text) is 'private: slots through which the two sides replicate to each other';

create function steep_repl._lsn_query() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return 'select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end as lsn';
comment on function steep_repl._lsn_query() is 'private: a query for the WAL position behind all that is visible, for either side';

create function steep_repl._lsns(connection text, out local_lsn pg_lsn, out peer_lsn pg_lsn)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  execute steep_repl._lsn_query() into local_lsn;
  peer_lsn := (steep_repl._peer_json(connection, steep_repl._lsn_query()) -> 0 ->> 'lsn')::pg_lsn;
end
$fn$;
comment on function steep_repl._lsns(text) is 'private: WAL positions of both sides now';

-- Waits until each side has replayed what the other had written by these positions; false after the deadline.
create function steep_repl._overlap_catch_up(
  connection text, slots record, lsns record, deadline timestamptz) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  behind constant text := 'select count(*)::int as n from pg_replication_slots s where s.slot_name = any (%L::text[]) and s.confirmed_flush_lsn < %L::pg_lsn';
  pause float8 := 0.02;
  n int;
begin
  loop
    execute format(behind, slots.to_peer, lsns.local_lsn) into n;
    if n = 0 then
      n := (steep_repl._peer_json(connection, format(behind, slots.from_peer, lsns.peer_lsn)) -> 0 ->> 'n')::int;
    end if;
    if n = 0 or clock_timestamp() > deadline then
      return n = 0;
    end if;
    perform pg_sleep(pause);
    pause := least(pause * 1.5, 0.25);
  end loop;
end
$fn$;
comment on function steep_repl._overlap_catch_up(text, record, record, timestamptz) is 'private: waits until both sides have replayed the other''s changes';

-- Digests of the rows that differed, as they are now; NULL where there is none any more.
create function steep_repl._overlap_look(
  connection text, plan jsonb, first int, last int,
  out no int, out local_digest bigint, out peer_digest bigint, out is_equal boolean)
returns setof record
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys constant text := steep_repl._overlap_keys(plan, first, last);
  answer record;
begin
  select * into answer from steep_repl._on_both(connection,
    steep_repl._fill(plan -> 'local' -> 'look', keys), steep_repl._fill(plan -> 'peer' -> 'look', keys));
  return query
    select d.no, l.digest, r.digest, l.exact is not distinct from r.exact
    from pg_temp.steep_repl_differences d
    left join unnest((answer.here::text[])[1]::int[], (answer.here::text[])[2]::int8[], (answer.here::text[])[3]::int8[])
      l(no, digest, exact) using (no)
    left join unnest((answer.there::text[])[1]::int[], (answer.there::text[])[2]::int8[], (answer.there::text[])[3]::int8[])
      r(no, digest, exact) using (no)
    where d.no between first and last and not d.is_settled;
end
$fn$;
comment on function steep_repl._overlap_look(text, jsonb, int, int) is 'private: looks again at rows that differed';

create function steep_repl._overlap_keys(plan jsonb, first int, last int) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys text;
  part text;
begin
  select format('unnest(%L::int[]', array_agg(d.no order by d.no)) into keys
  from pg_temp.steep_repl_differences d where d.no between first and last and not d.is_settled;
  for i in 1 .. jsonb_array_length(plan -> 'key') loop
    select format(', %L::%s[]', array_agg(d.key[i] order by d.no), plan -> 'key_types' ->> (i - 1)) into part
    from pg_temp.steep_repl_differences d where d.no between first and last and not d.is_settled;
    keys := keys || part;
  end loop;
  return keys || ')';
end
$fn$;
comment on function steep_repl._overlap_keys(jsonb, int, int) is 'private: a FROM item of the keys of rows that differed, for either side';

-- Looks once more at all that is not settled. Rows that are equal go, and are counted; those that are as they were
-- before are settled, and so are all if nothing is in flight.
create function steep_repl._overlap_look_at_all(connection text, plan jsonb, in_flight boolean) returns bigint
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_look constant int := 5000;
  chunk record;
  n_equal bigint := 0;
  n bigint;
begin
  for chunk in
    select min(d.no) as first, max(d.no) as last
    from (select d.no, (row_number() over (order by d.no) - 1) / rows_of_look as n
          from pg_temp.steep_repl_differences d where not d.is_settled) d
    group by d.n order by d.n
  loop
    with look as materialized (
      select * from steep_repl._overlap_look(connection, plan, chunk.first, chunk.last)),
    gone as (
      delete from pg_temp.steep_repl_differences d using look where d.no = look.no and look.is_equal
      returning look.local_digest),
    changed as (
      update pg_temp.steep_repl_differences d
      set is_settled = not in_flight or (look.local_digest, look.peer_digest) is not distinct from (d.local_digest, d.peer_digest),
          local_digest = look.local_digest, peer_digest = look.peer_digest
      from look where d.no = look.no and not look.is_equal)
    select count(gone.local_digest) into n from gone;
    n_equal := n_equal + n;
  end loop;
  return n_equal;
end
$fn$;
comment on function steep_repl._overlap_look_at_all(text, jsonb, boolean) is 'private: looks again at all rows that are not settled; how many are equal';

-- Rows in flight: a difference counts when both sides have replayed what the other had written by the time of one
-- look, and the next look finds both rows as they were. How many turned out to be equal.
create function steep_repl._overlap_settle(connection text, plan jsonb, timeout interval) returns bigint
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + timeout;
  slots record;
  lsns record;
  n_equal bigint := 0;
begin
  select * into slots from steep_repl._overlap_slots(connection);
  if slots.to_peer is null and slots.from_peer is null then
    if plan -> 'spellings' = 'true' then
      n_equal := steep_repl._overlap_look_at_all(connection, plan, false);
    end if;
    update pg_temp.steep_repl_differences set is_settled = true;
  end if;
  while exists (select from pg_temp.steep_repl_differences d where not d.is_settled) loop
    select * into lsns from steep_repl._lsns(connection);
    exit when not steep_repl._overlap_catch_up(connection, slots, lsns, deadline);
    n_equal := n_equal + steep_repl._overlap_look_at_all(connection, plan, true);
    exit when clock_timestamp() > deadline;
  end loop;
  update pg_temp.steep_repl_differences d
  set category = case when not d.is_settled then 'unsettled' when d.peer_digest is null then 'local_only'
                      when d.local_digest is null then 'remote_only' else 'conflict' end;
  return n_equal;
end
$fn$;
comment on function steep_repl._overlap_settle(text, jsonb, interval) is 'private: tells rows that differ from rows in flight; how many are equal after all';

-- Compares one table: the rows that differ are then in the temporary table.
create function steep_repl._overlap_table(
  connection text, plan jsonb, catch_up_timeout interval,
  out table_name text, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint,
  out local_lsn pg_lsn, out peer_lsn pg_lsn, out local_snapshot text, out peer_snapshot text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
set timezone = 'UTC' set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex'
set lc_monetary = 'C' set quote_all_identifiers = off set xmloption = 'content' set cursor_tuple_fraction = 1 set work_mem = '32MB' set enable_sort = off as $fn$
declare
  n_differing bigint;
begin
  perform steep_repl._overlap_check_key(connection, plan);
  delete from pg_temp.steep_repl_differences;
  perform steep_repl._peer_command(connection, 'begin isolation level repeatable read read only');
  peer_snapshot := steep_repl._peer_json(connection, 'select pg_current_snapshot()::text as snapshot') -> 0 ->> 'snapshot';
  with found as materialized (
    select row_number() over () as no, f.* from steep_repl._overlap_differences(connection, plan) f),
  kept as (
    insert into pg_temp.steep_repl_differences (no, category, key, local_digest, peer_digest)
    select f.no, f.category, f.key, f.local_digest, f.peer_digest from found f where f.category <> 'all'
    returning local_digest)
  select pg_current_snapshot()::text, (select f.local_digest from found f where f.category = 'all'),
         (select count(kept.local_digest) from kept)
  into local_snapshot, match_count, n_differing;
  perform steep_repl._peer_command(connection, 'commit');
  select l.local_lsn, l.peer_lsn into local_lsn, peer_lsn from steep_repl._lsns(connection) l;

  match_count := match_count - n_differing + steep_repl._overlap_settle(connection, plan, catch_up_timeout);
  table_name := plan ->> 'table';
  select count(*) filter (where d.category = 'local_only'), count(*) filter (where d.category = 'remote_only'),
         count(*) filter (where d.category = 'conflict'), count(*) filter (where d.category = 'unsettled')
  into local_only_count, remote_only_count, conflict_count, unsettled_count
  from pg_temp.steep_repl_differences d;
end
$fn$;
comment on function steep_repl._overlap_table(text, jsonb, interval) is 'private: compares one table and keeps the rows that differ';

create function steep_repl.analyze_overlap(
  peer text, tables text[], primary_keys jsonb default null, catch_up_timeout interval default '1 min',
  out table_name text, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  connection text;
  plan jsonb;
begin
  perform steep_repl._check_catch_up(catch_up_timeout);
  perform from steep_repl._overlap_targets(tables, primary_keys);
  connection := steep_repl._peer_open(peer);
  for i in 1 .. steep_repl._overlap_plans(connection, tables, primary_keys) loop
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = i;
    select o.table_name, o.local_only_count, o.remote_only_count, o.match_count, o.conflict_count, o.unsettled_count
    into table_name, local_only_count, remote_only_count, match_count, conflict_count, unsettled_count
    from steep_repl._overlap_table(connection, plan, catch_up_timeout) o;
    return next;
  end loop;
  perform steep_repl._overlap_end(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;
comment on function steep_repl.analyze_overlap(text, text[], jsonb, interval) is 'how the rows of tables differ between this database and a peer, counted; tables NULL = all that both have';

create function steep_repl._overlap_end(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_close(connection);
  drop table pg_temp.steep_repl_plans, pg_temp.steep_repl_differences;
end
$fn$;
comment on function steep_repl._overlap_end(text) is 'private: leaves the session as it was';

create function steep_repl.start_overlap(
  peer text, tables text[], primary_keys jsonb default null, catch_up_timeout interval default '1 min')
returns steep_repl.overlaps
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  job bigint;
  result steep_repl.overlaps;
begin
  perform steep_repl._check_catch_up(catch_up_timeout);
  perform from steep_repl._overlap_targets(tables, primary_keys);
  perform steep_repl._peer_target(peer);
  insert into steep_repl.work_queue (operation, params)
  values ('overlap', jsonb_build_object(
    'peer', steep_repl._peer_label(peer), 'is_conninfo', steep_repl._is_conninfo(peer), 'tables', tables,
    'primary_keys', primary_keys, 'catch_up_timeout', catch_up_timeout))
  returning id into job;
  if steep_repl._is_conninfo(peer) then
    perform steep_repl._keep_peer(job, peer);
  end if;
  select o.* into result from steep_repl.overlaps o where o.operation_id = job;
  return result;
end
$fn$;
comment on function steep_repl.start_overlap(text, text[], jsonb, interval) is 'queues what analyze_overlap does, and keeps the rows that differ for overlap_rows; returns at once';

create function steep_repl._overlap_latest(peer text, table_name text, out overlap_id text, out key_columns text[])
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select o.overlap_id, t.key_columns
  from steep_repl.overlaps o join steep_repl.overlap_tables t using (overlap_id)
  where o.status = 'complete' and o.peer = steep_repl._peer_label($1) and t.table_name = $2
    and steep_repl._is_here(o.system_identifier, o.database_oid) and pg_has_role(o.requested_by_oid, 'MEMBER')
  order by o.created_at desc limit 1
$fn$;
comment on function steep_repl._overlap_latest(text, text) is 'private: the latest queued comparison of a table with this peer that is complete';

-- Digests of each column of the rows that differ are compared, not the values. NULL where one side has no such row.
create function steep_repl._overlap_columns(connection text, plan jsonb, out no int, out names text[])
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys constant text := steep_repl._overlap_keys(plan, 0, 2147483647);
  n constant int := jsonb_array_length(plan -> 'columns');
  answer record;
begin
  select * into answer from steep_repl._on_both(connection,
    steep_repl._fill(plan -> 'local' -> 'columns', keys), steep_repl._fill(plan -> 'peer' -> 'columns', keys));
  return query
    with l as (
      select u.no, u.ordinality as i from unnest((answer.here::text[])[1]::int[]) with ordinality u(no)),
    r as (
      select u.no, u.ordinality as i from unnest((answer.there::text[])[1]::int[]) with ordinality u(no)),
    digests as (
      select (answer.here::text[])[2]::int8[] as l, (answer.there::text[])[2]::int8[] as r)
    select l.no, array(
      select c.name from jsonb_array_elements_text(plan -> 'columns') with ordinality c(name, i)
      where digests.l[l.i][c.i] is distinct from digests.r[r.i][c.i] order by c.i)
    from l join r using (no), digests;
end
$fn$;
comment on function steep_repl._overlap_columns(text, jsonb) is 'private: names of the columns that differ now, of rows that both sides have';

create function steep_repl._overlap_rows(
  peer text, wanted_table text, wanted_category text, max_rows int, primary_keys jsonb,
  out key jsonb, out category text, out differing_columns text[])
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
set timezone = 'UTC' set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1 set bytea_output = 'hex'
set lc_monetary = 'C' set quote_all_identifiers = off set xmloption = 'content' set cursor_tuple_fraction = 1 set work_mem = '32MB' set enable_sort = off as $fn$
declare
  connection text;
  target record;
  kept record;
  plan jsonb;
begin
  if wanted_category is not null and wanted_category not in ('local_only', 'remote_only', 'conflict', 'unsettled') then
    raise exception 'unknown category "%"', wanted_category using errcode = 'invalid_parameter_value',
      hint = 'Use one of local_only, remote_only, conflict, unsettled, or NULL for all.';
  end if;
  if max_rows is null or max_rows not between 1 and 100000 then
    raise exception 'max_rows must be between 1 and 100000' using errcode = 'invalid_parameter_value';
  end if;
  select * into target from steep_repl._overlap_targets(array[wanted_table], primary_keys);
  select * into kept from steep_repl._overlap_latest(peer, target.name);
  connection := steep_repl._peer_open(peer);
  perform steep_repl._overlap_plans(connection, array[target.name],
    case when kept.overlap_id is null then primary_keys else jsonb_build_object(target.name, kept.key_columns) end);
  select p.plan into plan from pg_temp.steep_repl_plans p;
  if kept.overlap_id is not null then
    insert into pg_temp.steep_repl_differences (no, category, key)
    select row_number() over (), r.category,
           array(select r.key ->> k.name from unnest(kept.key_columns) with ordinality k(name, n) order by k.n)
    from steep_repl._overlap_kept_rows(kept.overlap_id, target.name, wanted_category, max_rows) r;
  else
    perform steep_repl._overlap_table(connection, plan, interval '1 min');
    delete from pg_temp.steep_repl_differences d
    where not exists (
      select from (select w.no from pg_temp.steep_repl_differences w
                   where wanted_category is null or w.category = wanted_category order by w.no limit max_rows) w
      where w.no = d.no);
    update pg_temp.steep_repl_differences set is_settled = false;
  end if;
  return query
    select jsonb_object(array(select jsonb_array_elements_text(plan -> 'key')), d.key), d.category, c.names
    from pg_temp.steep_repl_differences d
    left join steep_repl._overlap_columns(connection, plan) c using (no)
    order by d.no;
  perform steep_repl._overlap_end(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;
comment on function steep_repl._overlap_rows(text, text, text, int, jsonb) is 'private: overlap_rows';

-- Row security is on for our own tables, and off for the user's.
create function steep_repl._overlap_kept_rows(overlap_id text, table_name text, category text, max_rows int)
returns setof steep_repl.overlap_rows
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select r.* from steep_repl.overlap_rows r
  where r.overlap_id = $1 and r.table_name = $2 and ($3 is null or r.category = $3) limit $4
$fn$;
comment on function steep_repl._overlap_kept_rows(text, text, text, int) is 'private: rows that a queued comparison kept';

create function steep_repl.overlap_rows(
  peer text, table_name text, category text default null, max_rows int default 1000, primary_keys jsonb default null,
  out key jsonb, out category text, out differing_columns text[])
returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as 'select r.* from steep_repl._overlap_rows($1, $2, $3, $4, $5) r';
comment on function steep_repl.overlap_rows(text, text, text, int, jsonb) is 'the rows behind the counts: those that the latest start_overlap with this peer kept, else compared now';
