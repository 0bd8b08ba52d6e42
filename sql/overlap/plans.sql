-- What is to be compared: arguments, plans and keys.

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

  -- also in a job that a role has queued by hand: what a merge writes into a catalog, or into what other jobs go by, has no guard
  select string_agg(t.name, ', ') into found from unnest(tables) t(name)
  where (parse_ident(t.name))[1] in ('steep_repl', 'information_schema') or (parse_ident(t.name))[1] ~ '^pg_';
  if found is not null then
    raise exception 'tables of the system, of steep_repl and of sessions are neither compared nor merged' using errcode = 'wrong_object_type',
      detail = format('They are: %s.', found);
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

-- Makes the temporary tables that a comparison works with, in place of those of an earlier call that failed, and was caught in the
-- same transaction.
create function steep_repl._overlap_work_tables() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if to_regclass('pg_temp.steep_repl_plans') is not null then
    drop table pg_temp.steep_repl_plans, pg_temp.steep_repl_differences;
  end if;
  if to_regclass('pg_temp.steep_repl_skipped') is not null then
    drop table pg_temp.steep_repl_skipped;
  end if;
  create temp table steep_repl_plans (no int primary key, plan jsonb not null, waited interval not null default '0') on commit preserve rows;
  create temp table steep_repl_differences (
    no int primary key, category text not null, key text[] not null, local_digest bigint, peer_digest bigint,
    is_settled boolean not null default false) on commit preserve rows;
  create temp table steep_repl_skipped (name text primary key, reason text not null, problem jsonb) on commit preserve rows;
end
$fn$;
comment on function steep_repl._overlap_work_tables() is 'private: makes the temporary tables of a comparison';

-- Checks the arguments and makes those tables; the names of the tables to compare.
create function steep_repl._overlap_begin(connection text, tables text[], primary_keys jsonb, scope jsonb) returns text[]
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'cannot compare in a transaction that is not READ COMMITTED'
      using errcode = 'object_not_in_prerequisite_state',
            detail = 'Rows that differ are looked at again, and such a transaction sees them as they were when it began.';
  end if;
  perform steep_repl._overlap_work_tables();
  perform from steep_repl._overlap_targets(tables, primary_keys);
  return steep_repl._scope_tables(connection, tables, scope);
end
$fn$;
comment on function steep_repl._overlap_begin(text, text[], jsonb, jsonb) is 'private: begins a comparison; the names of its tables, NULL for none';

-- Of given keys, those of some tables.
create function steep_repl._keys_of_tables(primary_keys jsonb, names text[]) returns jsonb
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select jsonb_object_agg(k.key, k.value)
  from jsonb_each(primary_keys) k
  where format('%I.%I', (parse_ident(k.key))[1], (parse_ident(k.key))[2])
        in (select format('%I.%I', (parse_ident(n.name))[1], (parse_ident(n.name))[2]) from unnest(names) n(name))
$fn$;
comment on function steep_repl._keys_of_tables(jsonb, text[]) is 'private: keys given for some tables';

create function steep_repl._facts_of(connection text, query text, out here jsonb, out there jsonb)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  here := steep_repl._query_here(query) -> 0;
  there := steep_repl._peer_json(connection, query) -> 0;
end
$fn$;
comment on function steep_repl._facts_of(text, text) is 'private: what the catalogs of both sides say of a table';

create function steep_repl._facts_digest(here jsonb, there jsonb) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return md5(jsonb_build_array(here - '{bytes,rows}'::text[], there - '{bytes,rows}'::text[])::text);
comment on function steep_repl._facts_digest(jsonb, jsonb) is 'private: tells whether facts are the same, but for a table''s size';

-- By how many rows the progress of comparing a table is counted, an estimate, and how many those of the tables before it are.
create function steep_repl._rows_of_plan(no int, here jsonb) returns jsonb
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return jsonb_build_object(
    'rows', greatest(round((here ->> 'rows')::float8), 1)::bigint,
    'rows_before', coalesce((select (p.plan ->> 'rows_before')::bigint + (p.plan ->> 'rows')::bigint
                             from pg_temp.steep_repl_plans p where p.no = _rows_of_plan.no - 1), 0));
end
$fn$;
comment on function steep_repl._rows_of_plan(int, jsonb) is 'private: by how many rows the progress of comparing a table is counted';

-- Rows of the tables before one, its own, and those of all.
create function steep_repl._rows_progress(no int) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (
    select format('%s %s %s', p.plan ->> 'rows_before', p.plan ->> 'rows', (l.plan ->> 'rows_before')::bigint + (l.plan ->> 'rows')::bigint)
    from pg_temp.steep_repl_plans p, (select a.plan from pg_temp.steep_repl_plans a order by a.no desc limit 1) l
    where p.no = _rows_progress.no);
end
$fn$;
comment on function steep_repl._rows_progress(int) is 'private: rows by which the progress of comparing a table is counted';

-- Statements name a table: one that was altered, or has another one in its place, may have been read as what it is not.
create function steep_repl._overlap_check_facts(connection text, plan jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  name constant text[] := parse_ident(plan ->> 'table');
  facts constant record := steep_repl._facts_of(connection, steep_repl._overlap_facts_query(name[1], name[2]));
begin
  if steep_repl._facts_digest(facts.here, facts.there) is distinct from plan ->> 'facts' then
    raise exception 'table % was changed while it was compared', plan ->> 'table' using errcode = 'object_not_in_prerequisite_state',
      detail = 'Its definition, or a right on it, is another one here or at the peer.', hint = 'Compare again.';
  end if;
end
$fn$;
comment on function steep_repl._overlap_check_facts(text, jsonb) is 'private: refuses a table that was changed since it was planned';

-- Plans all tables before the first is read, into a temporary table: all that cannot be compared is said at once, or skipped.
create function steep_repl._overlap_plans(connection text, tables text[], primary_keys jsonb, scope jsonb default null) returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  names constant text[] := steep_repl._overlap_begin(connection, tables, primary_keys, scope);
  target record;
  planned record;
  n int := 0;
begin
  for target in select * from steep_repl._overlap_targets(names, steep_repl._keys_of_tables(primary_keys, names)) where names is not null loop
    planned := steep_repl._try_plan(connection, target.name, target.schema_name, target.relation_name, target.key, null, null);
    if planned.problem is not null then
      perform steep_repl._note_unsuitable(target.name, planned.problem);
      continue;
    end if;
    n := n + 1;
    insert into pg_temp.steep_repl_plans values (n, planned.plan || steep_repl._rows_of_plan(n, planned.here));
  end loop;
  if scope -> 'skip_unsuitable' is distinct from 'true' then
    perform steep_repl._refuse_unsuitable();
  end if;
  return n;
end
$fn$;
comment on function steep_repl._overlap_plans(text, text[], jsonb, jsonb) is 'private: how each table is compared; how many there are';

-- What the caller says identifies a row has to, or counts would be wrong.
create function steep_repl._overlap_check_key(connection text, plan jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  side text;
  found jsonb;
begin
  foreach side in array array['local', 'peer'] loop
    continue when plan -> side ->> 'check' is null;
    found := case side when 'peer' then steep_repl._peer_json(connection, plan -> side ->> 'check')
                       else steep_repl._query_here(plan -> side ->> 'check') end -> 0;
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

-- What of the arguments this side alone can tell to be wrong: where the tables are named, that they and their columns are here.
create function steep_repl._check_targets(tables text[], primary_keys jsonb, last_modified_column text) returns void
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  found text;
begin
  select string_agg(t.name, ', ' order by t.no) into found from steep_repl._overlap_targets(tables, primary_keys) t
  where not exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = t.schema_name and c.relname = t.relation_name);
  if found is not null then
    raise exception 'table % does not exist', found using errcode = 'undefined_table',
      hint = 'Give each table as schema.table, quoted where SQL would quote it.';
  end if;
  select string_agg(distinct format('%s of table %s', w.name, t.name), ', ') into found
  from steep_repl._overlap_targets(tables, primary_keys) t
  cross join lateral (select quote_ident(k.name) from jsonb_array_elements_text(t.key) k(name)
                      union all select quote_ident(last_modified_column) where last_modified_column is not null) w(name)
  where not exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
    where n.nspname = t.schema_name and c.relname = t.relation_name and quote_ident(a.attname) = w.name and a.attnum > 0 and not a.attisdropped);
  if found is null and tables is null and last_modified_column is not null and not exists (
    select from pg_attribute a where a.attname = last_modified_column and a.attnum > 0 and not a.attisdropped and a.attrelid >= 16384) then
    found := format('%I, in any table', last_modified_column);
  end if;
  if found is not null then
    raise exception 'there is no column %', found using errcode = 'undefined_column',
      hint = 'last_modified_column must be in every table of the merge, and primary_keys name columns of each table.';
  end if;
end
$fn$;
comment on function steep_repl._check_targets(text[], jsonb, text) is 'private: refuses tables and columns that are not here';

-- Queues a comparison or a merge of tables, once its arguments are checked.
create function steep_repl._queue_with_peer(operation text, peer text, tables text[], primary_keys jsonb, params jsonb) returns bigint
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._check_targets(tables, primary_keys, params ->> 'last_modified_column');
  perform steep_repl._check_scope(steep_repl._call('table_scope', params || jsonb_build_object('tables', tables)));
  return steep_repl._queue_peer_job(operation, peer, params || jsonb_build_object('tables', tables, 'primary_keys', primary_keys));
end
$fn$;
comment on function steep_repl._queue_with_peer(text, text, text[], jsonb, jsonb) is 'private: queues a job with a peer; its id';
