-- A merge before it writes: what is compared, and what is to be done about each row that differs.

-- The temporary tables of a merge, besides those of its comparison; haste: of waiting for locks, see _merge_write_rows.
create function steep_repl._merge_work_tables(connection text, actions jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  create temp table steep_repl_tables (no int primary key, name text not null, local jsonb, peer jsonb, level int) on commit preserve rows;
  create temp table steep_repl_steps (
    step int primary key, no int not null, category text, action text not null, turn int not null default 0, last int not null default 0, size int not null default 50,
    n_rows bigint not null, ahead steep_repl._merge_rows, is_ordered boolean not null default false) on commit preserve rows;
  -- compressing what is read back at once takes longer than to write it
  alter table pg_temp.steep_repl_steps alter ahead set storage external;
  create temp table steep_repl_merge (
    is_local_first boolean not null, replicates boolean not null default false,
    peer_begins text not null default 'begin', made_origin boolean not null default false, round int not null default 1,
    current int not null default 1, actions jsonb not null, waiting_slots text[], not_covered text[],
    fires_here boolean not null default false, fires_there boolean not null default false,
    waits boolean not null default false, haste int not null default 0, was_locked boolean not null default false,
    overlap_id text, scope jsonb, merge_id text, facts jsonb, undoes text,
    has_moved_sequences boolean not null default false) on commit preserve rows;
  create temp table steep_repl_earlier (name text, no int, side text) on commit preserve rows;
  create temp table steep_repl_seen (name text primary key, seen steep_repl._overlap_seen not null) on commit preserve rows;
  alter table pg_temp.steep_repl_differences add column action text, add column round int not null default 1, add column reason text,
    add column turn int not null default 0, add column partner int, add column differs boolean not null default false,
    add column reviewed_local bigint, add column reviewed_peer bigint;
  insert into pg_temp.steep_repl_merge (is_local_first, actions)
  select (i.local, i.local_database) < (i.peer, i.peer_database), actions
  from steep_repl._merge_identities(connection) i;
end
$fn$;
comment on function steep_repl._merge_work_tables(text, jsonb) is 'private: makes the temporary tables of a merge';

-- Plans some tables; those that cannot be are noted. How many there are.
create function steep_repl._merge_plan_tables(connection text, names text[], primary_keys jsonb, options jsonb) returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  target record;
  planned record;
  n int := 0;
begin
  for target in
    select * from steep_repl._overlap_targets(nullif(names, '{}'), steep_repl._keys_of_tables(primary_keys, names)) where cardinality(names) > 0
  loop
    planned := steep_repl._try_plan(
      connection, target.name, target.schema_name, target.relation_name, target.key, options,
      steep_repl._merge_table_query(target.schema_name, target.relation_name));
    if planned.problem is not null then
      perform steep_repl._note_unsuitable(target.name, planned.problem);
      continue;
    end if;
    n := n + 1;
    insert into pg_temp.steep_repl_tables (no, name, local, peer) values (n, target.name, planned.local, planned.peer);
    insert into pg_temp.steep_repl_plans values (n, planned.plan || steep_repl._rows_of_plan(n, planned.here));
  end loop;
  return n;
end
$fn$;
comment on function steep_repl._merge_plan_tables(text, text[], jsonb, jsonb) is 'private: how tables are merged; how many there are';

-- actions: what is done about the rows of each category, unless a row says otherwise, as plv8/merge/row-actions.ts decides. Where
-- tables that cannot be merged are skipped, so are those that are defined in different ways.
create function steep_repl._merge_plans(
  connection text, tables text[], primary_keys jsonb, actions jsonb, last_modified_column text, scope jsonb default null) returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  skips constant boolean := scope -> 'skip_unsuitable' is not distinct from 'true';
  names text[] := steep_repl._overlap_begin(connection, tables, primary_keys, scope);
  n int;
begin
  perform steep_repl._merge_work_tables(connection, actions);
  update pg_temp.steep_repl_merge m set scope = _merge_plans.scope;
  if skips then
    insert into pg_temp.steep_repl_skipped (name, reason)
    select d.name, 'it is defined in different ways here and at the peer' from unnest(steep_repl._merge_differing(connection, names)) d(name);
    names := array(select t.name from unnest(names) with ordinality t(name, i)
                   where t.name not in (select s.name from pg_temp.steep_repl_skipped s) order by t.i);
  end if;
  n := steep_repl._merge_plan_tables(
    connection, names, primary_keys,
    jsonb_build_object('actions', actions, 'last_modified_column', last_modified_column, 'skips', skips));
  if not skips then
    perform steep_repl._refuse_unsuitable();
  end if;
  return n;
end
$fn$;
comment on function steep_repl._merge_plans(text, text[], jsonb, jsonb, text, jsonb) is 'private: how each table is merged; how many there are';

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

-- The session at the peer: no triggers where that is allowed, and changes that say that they come from elsewhere.
create function steep_repl._merge_prepare_peer(connection text, merge_id text, replicates boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  durability constant text := steep_repl._peer_json(connection, 'select current_setting(''synchronous_commit'') as value') -> 0 ->> 'value';
begin
  -- the audit log has what is committed there, which a crash must not lose
  perform steep_repl._peer_command(connection, format('set synchronous_commit = %L', case durability when 'off' then 'local' else durability end));
  if (steep_repl._peer_json(connection, steep_repl._merge_node_query(
        steep_repl._peer_version(connection))) -> 0 -> 'may_skip_triggers') = 'true' then
    perform steep_repl._peer_command(connection, 'set session_replication_role = replica');
  elsif (steep_repl._peer_json(connection, 'select current_setting(''session_replication_role'') as role') -> 0 ->> 'role') = 'replica' then
    -- what then fires or is checked is not what is thought
    raise exception 'peer: session_replication_role is set to replica for a role that may not set it' using errcode = 'insufficient_privilege',
      detail = 'Foreign keys would neither be checked with each row nor afterwards.',
      hint = 'At the peer: GRANT SET ON PARAMETER session_replication_role TO that role, or ALTER ROLE ... RESET session_replication_role.';
  end if;
  if replicates then
    perform steep_repl._merge_use_origin_there(
      connection, array(select l from steep_repl._overlap_links(connection) l), steep_repl._merge_own_origin(merge_id));
  end if;
  update pg_temp.steep_repl_merge set replicates = _merge_prepare_peer.replicates;
end
$fn$;
comment on function steep_repl._merge_prepare_peer(text, text, boolean) is 'private: prepares the session at the peer for writing';

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
