-- A merge before it writes: what is compared, and what is to be done about each row that differs.

create function steep_repl._merge_plans(connection text, tables text[], params jsonb) returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  primary_keys constant jsonb := nullif(params -> 'primary_keys', 'null');
  names constant text[] := steep_repl._overlap_begin(connection, tables, primary_keys);
  target record;
  query text;
  writes text;
  n int := 0;
begin
  create temp table steep_repl_tables (no int primary key, name text not null, local jsonb, peer jsonb, level int) on commit preserve rows;
  create temp table steep_repl_steps (
    step int primary key, no int not null, category text, action text not null, last int not null default 0, size int not null default 50,
    ahead steep_repl._merge_rows) on commit preserve rows;
  -- compressing what is read back at once takes longer than to write it
  alter table pg_temp.steep_repl_steps alter ahead set storage external;
  create temp table steep_repl_merge (
    is_local_first boolean not null, replicates boolean not null default false, round int not null default 1,
    current int not null default 1, actions jsonb not null, writes text, waiting_slots text[]) on commit preserve rows;
  alter table pg_temp.steep_repl_differences add column action text, add column round int not null default 1;
  insert into pg_temp.steep_repl_merge (is_local_first, actions)
  select (i.local, i.local_database) < (i.peer, i.peer_database), steep_repl._merge_actions(params)
  from steep_repl._merge_identities(connection) i;
  for target in select * from steep_repl._overlap_targets(names, primary_keys) where names is not null loop
    query := steep_repl._overlap_facts_query(target.schema_name, target.relation_name);
    writes := steep_repl._merge_table_query(target.schema_name, target.relation_name);
    insert into pg_temp.steep_repl_tables (no, name, local, peer)
    values (target.no, target.name, steep_repl._query_here(writes) -> 0, steep_repl._peer_json(connection, writes) -> 0);
    insert into pg_temp.steep_repl_plans
    select t.no, steep_repl._call('merge_plan', jsonb_build_object(
      'table', t.name, 'key', target.key, 'local', steep_repl._query_here(query) -> 0,
      'peer', steep_repl._peer_json(connection, query) -> 0, 'local_writes', t.local, 'peer_writes', t.peer, 'options', params))
    from pg_temp.steep_repl_tables t where t.no = target.no;
    n := n + 1;
  end loop;
  return n;
end
$fn$;
comment on function steep_repl._merge_plans(text, text[], jsonb) is 'private: how each table is merged; how many there are';

-- Which databases these are: both sides order them alike.
create function steep_repl._merge_identities(
  connection text, out local text, out local_database oid, out peer text, out peer_database oid)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  query constant text := $sql$
    select (select c.system_identifier::text from pg_control_system() c) as system_identifier,
           (select d.oid from pg_database d where d.datname = current_database()) as database$sql$;
  here constant jsonb := steep_repl._query_here(query) -> 0;
  there constant jsonb := steep_repl._peer_json(connection, query) -> 0;
begin
  local := here ->> 'system_identifier';
  local_database := (here ->> 'database')::oid;
  peer := there ->> 'system_identifier';
  peer_database := (there ->> 'database')::oid;
end
$fn$;
comment on function steep_repl._merge_identities(text) is 'private: system identifiers and database oids of both sides';

-- The session at the peer: bounded waits for locks, no triggers where that is allowed, and changes that say
-- that they come from elsewhere. The origin is made for this merge, and dropped at its end.
create function steep_repl._merge_prepare_peer(connection text, merge_id text, replicates boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  origin constant text := 'steep_repl_' || merge_id;
  deadline constant timestamptz := clock_timestamp() + interval '30 s';
begin
  perform steep_repl._peer_command(connection, format('set lock_timeout = %L', current_setting('steep_repl.lock_timeout')));
  if (steep_repl._peer_json(connection, steep_repl._merge_node_query(
        steep_repl._peer_version(connection))) -> 0 -> 'may_skip_triggers') = 'true' then
    perform steep_repl._peer_command(connection, 'set session_replication_role = replica');
  end if;
  if replicates then
    perform steep_repl._peer_json(connection, format(
      'select pg_replication_origin_create(%1$L)::text where not exists (select from pg_replication_origin o where o.roname = %1$L)', origin));
    -- after a crash, the session of an earlier attempt may take a moment to end
    loop
      begin
        perform steep_repl._peer_json(connection, format('select pg_replication_origin_session_setup(%L)', origin));
        exit;
      exception when object_in_use then
        if clock_timestamp() > deadline then
          raise;
        end if;
      end;
      perform pg_sleep(0.1);
    end loop;
  end if;
  update pg_temp.steep_repl_merge set replicates = _merge_prepare_peer.replicates;
end
$fn$;
comment on function steep_repl._merge_prepare_peer(text, text, boolean) is 'private: prepares the session at the peer for writing';

-- How many rows were ever written to the tables of the merge, on both sides.
create function steep_repl._merge_writes(connection text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  query constant text := format($sql$
    select coalesce(sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del), 0)::text as n
    from unnest(%L::text[]) t(name)
    cross join lateral (select p.relid::oid from pg_partition_tree(t.name::regclass) p union select t.name::regclass::oid) r(oid)
    join pg_stat_all_tables s on s.relid = r.oid$sql$, array(select t.name from pg_temp.steep_repl_tables t));
begin
  return concat_ws(' ', steep_repl._query_here(query) -> 0 ->> 'n', steep_repl._peer_json(connection, query) -> 0 ->> 'n');
end
$fn$;
comment on function steep_repl._merge_writes(text) is 'private: counts of rows written on both sides';

create function steep_repl._merge_ignore_replication(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_plans set plan = plan || '{"ignores_replication": true}';
  update pg_temp.steep_repl_merge set writes = steep_repl._merge_writes(connection);
end
$fn$;
comment on function steep_repl._merge_ignore_replication(text) is 'private: has tables compared as if nothing were in flight';

-- Throws away what waits to be replicated, on both sides. Tables have been compared, and so what it would have changed
-- has been found; but a row that is written between the two would be lost to the other side. Those that PostgreSQL has
-- counted by now are a reason to stop. Here only those slots are moved on that were named before the merge began, whatever the
-- peer says of its subscriptions by now.
create function steep_repl._merge_discard_backlog(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  slots constant record := steep_repl._overlap_slots(connection);
  advance constant text := $sql$
    select pg_replication_slot_advance(s.slot_name, pg_current_wal_lsn())::text as advanced
    from pg_replication_slots s where s.slot_name = any (%L::text[]) and s.slot_type = 'logical' and s.plugin = 'pgoutput'
      and s.database = current_database() and not s.active and s.confirmed_flush_lsn < pg_current_wal_lsn()$sql$;
  used text;
begin
  if steep_repl._merge_writes(connection) <> (select m.writes from pg_temp.steep_repl_merge m) then
    raise exception 'rows were written while the tables were compared, so the backlog cannot be discarded'
      using errcode = 'object_in_use', detail = 'Those changes would be lost to the other side.',
            hint = 'Keep writers away from the tables on both sides while you merge with backlog => ''discard''.';
  end if;
  select string_agg(quote_ident(s.slot_name), ', ') into used
  from pg_replication_slots s, pg_temp.steep_repl_merge m where s.slot_name = any (m.waiting_slots) and s.active;
  if used is not null then
    raise exception 'changes that wait to be replicated cannot be discarded while they are being sent' using errcode = 'object_in_use',
      detail = format('Replication slots: %s.', used), hint = 'Disable those subscriptions first: ALTER SUBSCRIPTION ... DISABLE.';
  end if;
  perform steep_repl._query_here(format(advance, (select m.waiting_slots from pg_temp.steep_repl_merge m)));
  perform steep_repl._peer_json(connection, format(advance, slots.from_peer));
end
$fn$;
comment on function steep_repl._merge_discard_backlog(text) is 'private: moves slots between the two sides on to where they are now';

-- The rows that differ are kept in a temporary table for each table that has some. The current one has the name
-- that comparing uses, the others wait under their number.
create function steep_repl._merge_switch(no int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  current constant int := (select m.current from pg_temp.steep_repl_merge m);
  waits constant boolean := to_regclass('pg_temp.steep_repl_differences_' || no) is not null;
begin
  if no = current then
    return;
  end if;
  if exists (select from pg_temp.steep_repl_differences) then
    execute format('alter table pg_temp.steep_repl_differences rename to steep_repl_differences_%s', current);
    if not waits then
      execute format('create temp table steep_repl_differences (like pg_temp.steep_repl_differences_%s including defaults) on commit preserve rows', current);
      alter table pg_temp.steep_repl_differences add primary key (no);
    end if;
  elsif waits then
    drop table pg_temp.steep_repl_differences;
  end if;
  if waits then
    execute format('alter table pg_temp.steep_repl_differences_%s rename to steep_repl_differences', no);
  end if;
  update pg_temp.steep_repl_merge set current = no;
end
$fn$;
comment on function steep_repl._merge_switch(int) is 'private: makes the rows of another table the current ones';

-- Tables that have rows that differ.
create function steep_repl._merge_tables_with_rows() returns setof int
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select right(c.relname, -length('steep_repl_differences_'))::int
  from pg_class c where c.relnamespace = pg_my_temp_schema() and c.relkind = 'r' and c.relname ~ '^steep_repl_differences_[0-9]+$'
  union
  select c.no from steep_repl._merge_current() c(no) where c.no is not null
  order by 1
$fn$;
comment on function steep_repl._merge_tables_with_rows() is 'private: numbers of the tables that have rows that differ';

create function steep_repl._merge_current() returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (select m.current from pg_temp.steep_repl_merge m where exists (select from pg_temp.steep_repl_differences));
end
$fn$;
comment on function steep_repl._merge_current() is 'private: the number of the table whose rows are the current ones, NULL where it has none';

-- When rows were last modified, for those in conflict that have no action yet.
create function steep_repl._merge_choose_by_stamps(connection text, plan jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_look constant int := 5000;
  chunk record;
  keys text;
  answer record;
begin
  for chunk in
    select array_agg(d.no order by d.no) as numbers
    from (select d.no, (row_number() over (order by d.no) - 1) / rows_of_look as n
          from pg_temp.steep_repl_differences d where d.action = 'stamps') d
    group by d.n
  loop
    keys := steep_repl._merge_keys_of(plan, chunk.numbers);
    select * into answer from steep_repl._on_both(connection,
      steep_repl._fill(plan -> 'merge' -> 'local' -> 'stamps', keys), steep_repl._fill(plan -> 'merge' -> 'peer' -> 'stamps', keys));
    -- A stamp that is missing says nothing about which is older. Those, and ties, are decided by the rows' exact digests,
    -- which gives the same row from either end, and whatever both sides were compared by.
    execute format($sql$
      with l as (select * from unnest(($1::text[])[1]::int[], ($1::text[])[2]::%1$s[], ($1::text[])[3]::int8[]) u(no, stamp, digest)),
      p as (select * from unnest(($2::text[])[1]::int[], ($2::text[])[2]::%1$s[], ($2::text[])[3]::int8[]) u(no, stamp, digest))
      update pg_temp.steep_repl_differences d
      set action = case when l.stamp > p.stamp then 'update_remote' when l.stamp < p.stamp then 'update_local'
                        when l.digest > p.digest then 'update_remote' else 'update_local' end
      from l full join p using (no) where d.no = coalesce(l.no, p.no) and d.action = 'stamps'$sql$, plan -> 'merge' ->> 'stamp_type')
      using answer.here, answer.there;
  end loop;
  -- gone on both sides meanwhile
  update pg_temp.steep_repl_differences d set action = 'again' where d.action = 'stamps';
end
$fn$;
comment on function steep_repl._merge_choose_by_stamps(text, jsonb) is 'private: of rows in conflict, the one that was modified last is taken';

-- What is done about the rows of each category, unless a row says otherwise.
create function steep_repl._merge_actions(params jsonb) returns jsonb
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return jsonb_build_object(
  'local_only', case params ->> 'local_only' when 'push' then 'insert_remote' when 'delete' then 'delete_local' else 'keep' end,
  'remote_only', case params ->> 'remote_only' when 'pull' then 'insert_local' when 'delete' then 'delete_remote' else 'keep' end,
  'conflict', case params ->> 'strategy' when 'prefer-local' then 'update_remote' when 'prefer-remote' then 'update_local'
                                         when 'last-modified' then 'stamps' else 'manual' end,
  'unsettled', 'again');
comment on function steep_repl._merge_actions(jsonb) is 'private: the action for each category of rows';

-- Marks the rows whose action does not follow from their category alone: conflicts that the last change decides, and rows
-- that were put off, which this round takes up again.
create function steep_repl._merge_choose(connection text, plan jsonb, this_round int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  by_row constant text[] := array(select a.key from jsonb_each_text(actions) a where a.value in ('stamps', 'again'));
begin
  update pg_temp.steep_repl_differences d set round = this_round, action = actions ->> d.category
  where d.action = 'again' or d.action is null and d.category = any (by_row);
  if actions ->> 'conflict' = 'stamps' then
    perform steep_repl._merge_choose_by_stamps(connection, plan);
  end if;
end
$fn$;
comment on function steep_repl._merge_choose(text, jsonb, int) is 'private: decides what is done about rows that differ';

-- Compares a table and decides about its rows; the counts of its categories.
create function steep_repl._merge_compare(
  connection text, no int, params jsonb,
  out table_name text, out key_columns text[], out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_plans p where p.no = _merge_compare.no);
begin
  perform steep_repl._merge_switch(no);
  select o.table_name, o.local_only_count, o.remote_only_count, o.match_count, o.conflict_count, o.unsettled_count
  into table_name, local_only_count, remote_only_count, match_count, conflict_count, unsettled_count
  from steep_repl._overlap_table(connection, plan, interval '1 min') o;
  key_columns := array(select jsonb_array_elements_text(plan -> 'key'));
  perform steep_repl._merge_choose(connection, plan, 1);
  analyze pg_temp.steep_repl_differences;
end
$fn$;
comment on function steep_repl._merge_compare(text, int, jsonb) is 'private: compares one table of a merge';

-- The steps of this round: inserts and updates, parents first; then deletes, children first.
create function steep_repl._merge_steps(this_round int) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  target int;
begin
  update pg_temp.steep_repl_merge set round = this_round;
  delete from pg_temp.steep_repl_steps;
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    insert into pg_temp.steep_repl_steps (step, no, category, action)
    select -(row_number() over () + 20 * target), target, a.category, a.action
    from (select distinct case when d.action is null then d.category end as category, coalesce(d.action, actions ->> d.category) as action
          from (select distinct d.category, d.action from pg_temp.steep_repl_differences d
                where d.action is null and this_round = 1 or d.action is not null and d.round = this_round) d) a
    where a.action not in ('keep', 'again');
  end loop;
  update pg_temp.steep_repl_steps s set step = o.n
  from (select x.step, row_number() over (
          order by x.action like 'delete%', case when x.action like 'delete%' then -t.level else t.level end, t.no, x.action) as n
        from pg_temp.steep_repl_steps x join pg_temp.steep_repl_tables t using (no)) o
  where o.step = s.step;
  return (select count(*) from pg_temp.steep_repl_steps);
end
$fn$;
comment on function steep_repl._merge_steps(int) is 'private: orders what is to be written; how many steps';
