-- Which tables are compared or merged, and those that cannot be.

-- Whether a table is within the limits that plv8/shared/table-scope.ts makes of the arguments; NULL: there are none.
create function steep_repl._in_scope(name text, scope jsonb) returns boolean
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select (coalesce(jsonb_typeof(scope -> 'schemas'), 'null') = 'null' or scope -> 'schemas' ? p.names[1])
         and not exists (select from jsonb_to_recordset(scope -> 'exclude') x(schema text, name text)
                         where (x.schema is null or p.names[1] ~ x.schema) and p.names[2] ~ x.name)
  from (select parse_ident($1)) p(names)
$fn$;
comment on function steep_repl._in_scope(text, jsonb) is 'private: whether a table is among those to compare';

-- Checks what only this server can say of such limits: that there are such schemas, and that the patterns are regular expressions.
create function steep_repl._check_scope(scope jsonb) returns void
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  missing constant text := (
    select string_agg(s.name, ', ') from jsonb_array_elements_text(nullif(scope -> 'schemas', 'null')) s(name)
    where not exists (select from pg_namespace n where n.nspname = s.name));
begin
  if missing is not null then
    raise exception 'schema does not exist: %', missing using errcode = 'invalid_schema_name';
  end if;
  perform steep_repl._in_scope('a.b', scope);
exception when invalid_regular_expression then
  raise exception 'exclude_tables has a pattern that is no regular expression' using errcode = 'invalid_parameter_value', detail = sqlerrm || '.';
end
$fn$;
comment on function steep_repl._check_scope(jsonb) is 'private: refuses limits that cannot be';

-- Of the tables that are to be compared, NULL for all that both sides have, those within the limits.
create function steep_repl._scope_tables(connection text, tables text[], scope jsonb) returns text[]
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  names text[] := tables;
begin
  if tables is null then
    execute format('select array_agg(l.name order by l.name) from (%s) l join jsonb_to_recordset($1) r(name text) using (name)',
                   steep_repl._overlap_tables_query())
      into names using steep_repl._peer_json(connection, steep_repl._overlap_tables_query());
  end if;
  return (select array_agg(n.name order by n.i) from unnest(names) with ordinality n(name, i) where steep_repl._in_scope(n.name, scope));
end
$fn$;
comment on function steep_repl._scope_tables(text, text[], jsonb) is 'private: the tables to compare, NULL for none';

-- Plans how one table is compared, or with options, those that plv8/merge/merge-plan.ts plans by, how it is merged; or the error that
-- says why it cannot be. local, peer: what the query writes says of either side; here: the facts of this side. Nothing is written
-- within the block: with many tables, as many subtransactions would have to be told apart by everybody.
create function steep_repl._try_plan(
  connection text, name text, schema_name text, relation_name text, key jsonb, options jsonb, writes text,
  out plan jsonb, out local jsonb, out peer jsonb, out here jsonb, out problem jsonb)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  facts record;
  args jsonb;
  state text;
  message text;
  detail text;
  hint text;
begin
  facts := steep_repl._facts_of(connection, steep_repl._overlap_facts_query(schema_name, relation_name));
  here := facts.here;
  args := jsonb_build_object('table', name, 'key', key, 'local', facts.here, 'peer', facts.there);
  if options is not null then
    local := steep_repl._query_here(writes) -> 0;
    peer := steep_repl._peer_json(connection, writes) -> 0;
    args := args || jsonb_build_object('local_writes', local, 'peer_writes', peer, 'options', options);
  end if;
  plan := steep_repl._call(case when options is null then 'overlap_plan' else 'merge_plan' end, args)
          || jsonb_build_object('facts', steep_repl._facts_digest(facts.here, facts.there));
exception when undefined_table or undefined_column or datatype_mismatch or wrong_object_type or feature_not_supported
          or object_not_in_prerequisite_state or insufficient_privilege then
  get stacked diagnostics state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint;
  problem := jsonb_build_object('state', state, 'message', message, 'detail', detail, 'hint', hint);
end
$fn$;
comment on function steep_repl._try_plan(text, text, text, text, jsonb, jsonb, text) is 'private: how a table is compared or merged, or why it cannot be';

-- Why a table cannot be planned: of the error that its planning has raised.
create function steep_repl._note_unsuitable(name text, problem jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  insert into pg_temp.steep_repl_skipped (name, reason, problem)
  values (name, (problem ->> 'message') || coalesce(': ' || nullif(problem ->> 'detail', ''), ''), problem);
end
$fn$;
comment on function steep_repl._note_unsuitable(text, jsonb) is 'private: notes that a table cannot be compared';

-- All that cannot be compared is said at once.
create function steep_repl._refuse_unsuitable() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  problems constant jsonb[] := array(select s.problem from pg_temp.steep_repl_skipped s order by s.name);
begin
  if cardinality(problems) = 1 then
    perform steep_repl._raise(problems[1] ->> 'state', problems[1] ->> 'message', nullif(problems[1] ->> 'detail', ''), nullif(problems[1] ->> 'hint', ''));
  elsif cardinality(problems) > 1 then
    perform steep_repl._raise(
      problems[1] ->> 'state', format('%s tables cannot be compared', cardinality(problems)),
      steep_repl._joined(array(select format('%s (%s)', s.name, s.reason) from pg_temp.steep_repl_skipped s order by s.name)),
      'Mend them, leave them out with exclude_tables, or go on without them with skip_unsuitable => true.');
  end if;
end
$fn$;
comment on function steep_repl._refuse_unsuitable() is 'private: refuses tables that cannot be compared, if there are any';

create function steep_repl._skipped_tables() returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (select coalesce(json_agg(json_build_object('table_name', s.name, 'reason', s.reason) order by s.name), '[]') from pg_temp.steep_repl_skipped s)::text;
end
$fn$;
comment on function steep_repl._skipped_tables() is 'private: tables that a job goes on without, and why';
