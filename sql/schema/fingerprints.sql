-- How the tables of two databases differ: fingerprints that are compared, kept, and looked at in detail.

create function steep_repl._node(node_id text, argument text) returns steep_repl.nodes
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  node steep_repl.nodes;
begin
  if node_id is null or btrim(node_id) = '' then
    raise exception '% must not be null or empty', argument using errcode = 'invalid_parameter_value';
  end if;
  select n.* into node from steep_repl.nodes n where n.node_id = _node.node_id;
  if not found then
    raise exception 'node "%" is not registered', node_id
      using errcode = 'undefined_object', hint = 'Register it with steep_repl.register_node().';
  end if;
  return node;
end
$fn$;
comment on function steep_repl._node(text, text) is 'private: the entry of a node that an argument names';

create function steep_repl._is_this_database(node steep_repl.nodes) returns boolean
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return coalesce(node.system_identifier = steep_repl._system_identifier(), false)
       and coalesce(node.dbname, current_database()::text) = current_database()::text;
comment on function steep_repl._is_this_database(steep_repl.nodes) is 'private: whether a node is the database of this session';

create function steep_repl._check_local_node(local_node text) returns void
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  node constant steep_repl.nodes := steep_repl._node(local_node, 'local_node');
begin
  if steep_repl._is_this_database(node) then
    return;
  end if;
  raise exception 'node "%" is not this database', local_node using
    errcode = 'invalid_parameter_value',
    detail = case when node.system_identifier is null then 'Which server it is has not been found out yet.'
                  when node.system_identifier = steep_repl._system_identifier()
                  then format('It is database "%s" of this server.', node.dbname)
                  else 'It is registered as another server.' end,
    hint = case when node.system_identifier is null
                then format('If it is this one, call steep_repl.node_status(%L, probe => true) first.', local_node)
                else 'Connect to that node, or give it as peer_node and the node of this database as local_node.' end;
end
$fn$;
comment on function steep_repl._check_local_node(text) is 'private: refuses a node that is not the database of this session';

-- Triggers and all: an object of name to fingerprint each. names: NULL for all tables.
create function steep_repl._table_fingerprints(connection text, names text[], out here jsonb, out there jsonb)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  query constant text := 'with '
    || steep_repl._schema_ctes(case when names is null then 'true'
                                    else format($sql$format('%%I.%%I', n.nspname, c.relname) = any (%L::text[])$sql$, names) end)
    || $sql$select coalesce(json_object_agg(format('%I.%I', t.nspname, t.relname), f.fingerprint), '{}') as found from t join f on f.oid = t.oid$sql$;
begin
  here := steep_repl._query_here(query) -> 0 -> 'found';
  there := steep_repl._peer_json(connection, query) -> 0 -> 'found';
end
$fn$;
comment on function steep_repl._table_fingerprints(text, text[]) is 'private: how tables are defined on both sides';

create function steep_repl._tables_unlike(names text[], one jsonb, other jsonb) returns text[]
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return array(select n.name from unnest(names) n(name) where one -> n.name is distinct from other -> n.name order by n.name);
comment on function steep_repl._tables_unlike(text[], jsonb, jsonb) is 'private: tables that have other fingerprints, or none';

create function steep_repl.compare_fingerprints(
  local_node text, peer_node text,
  out schema_name text, out table_name text, out local_fingerprint text, out peer_fingerprint text, out status text)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
#variable_conflict use_column
declare
  here jsonb;
  there jsonb;
begin
  perform steep_repl._check_local_node(local_node);
  select q.here, q.there into here, there
  from steep_repl._query_both(peer_node, 'with ' || steep_repl._schema_ctes('true')
    || 'select t.nspname as s, t.relname as t, f.fingerprint as f from t join f on f.oid = t.oid') q;
  return query
    select coalesce(l.s, p.s), coalesce(l.t, p.t), l.f, p.f,
           case when p.f is null then 'local_only' when l.f is null then 'peer_only'
                when l.f = p.f then 'match' else 'mismatch' end
    from jsonb_to_recordset(here) l(s text, t text, f text)
    full join jsonb_to_recordset(there) p(s text, t text, f text) on p.s = l.s and p.t = l.t
    order by coalesce(l.s, p.s) collate "C", coalesce(l.t, p.t) collate "C";
end
$fn$;

create function steep_repl.capture_fingerprints(node_id text) returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  node constant steep_repl.nodes := steep_repl._node(capture_fingerprints.node_id, 'node_id');
  connection text;
  query text;
  batch jsonb;
  last_oid oid := 0;
  captured int := 0;
begin
  if not steep_repl._is_this_database(node) then
    connection := steep_repl._peer_open(node.node_id);
  end if;
  loop
    query := 'with ' || steep_repl._schema_ctes(format('c.oid > %L::oid order by c.oid limit 1000', last_oid)) || $sql$
      select t.oid, t.nspname as schema_name, t.relname as table_name, f.fingerprint, f.definition,
             current_setting('server_version_num')::int as version
      from t join f on f.oid = t.oid$sql$;
    batch := case when connection is null then steep_repl._query_here(query)
                  else steep_repl._peer_json(connection, query) end;
    insert into steep_repl.schema_fingerprints
      (node_id, schema_name, table_name, fingerprint, definition, server_version_num)
    select node.node_id, r.schema_name, r.table_name, r.fingerprint, r.definition, r.version
    from jsonb_to_recordset(batch)
      r(schema_name text, table_name text, fingerprint text, definition jsonb, version int);
    captured := captured + jsonb_array_length(batch);
    exit when jsonb_array_length(batch) < 1000;
    if (select max(r.oid) from jsonb_to_recordset(batch) r(oid oid)) > last_oid then
      last_oid := (select max(r.oid) from jsonb_to_recordset(batch) r(oid oid));
    else
      raise exception 'peer: what it says of its tables comes round in a circle' using errcode = 'protocol_violation',
        hint = 'No PostgreSQL answers there, or its catalogs have been changed.';
    end if;
  end loop;
  if connection is not null then
    perform steep_repl._peer_close(connection);
  end if;
  return captured;
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;

-- For schema_diff: what a table consists of on both sides. Few objects, so TypeScript compares them.
create function steep_repl._schema_sides(local_node text, peer_node text, table_name text, out here jsonb, out there jsonb)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  parts text[];
  ctes text;
  wanted jsonb;
begin
  perform steep_repl._check_local_node(local_node);
  if table_name is null or btrim(table_name) = '' then
    raise exception 'table_name must not be null or empty' using errcode = 'invalid_parameter_value';
  end if;
  begin
    parts := parse_ident(table_name);
  exception when invalid_parameter_value then
    parts := '{}';
  end;
  if cardinality(parts) <> 2 then
    raise exception 'table_name is not a qualified name' using errcode = 'invalid_parameter_value',
      detail = format('It is %s.', table_name),
      hint = 'Write schema.table, quoted where SQL would quote it.';
  end if;
  ctes := format('with %s, %s, %s',
    steep_repl._schema_ctes(format('n.nspname = %L and c.relname = %L', parts[1], parts[2])),
    steep_repl._schema_tie_ctes(), steep_repl._schema_wanted_cte());
  wanted := steep_repl._query_here(ctes || ' select w.* from wanted w');
  select q.here -> 0, q.there -> 0 into here, there
  from steep_repl._query_both(peer_node, ctes || format($sql$
         select current_setting('server_version_num')::int as version,
                exists (select from pg_namespace n where n.nspname = %L) as has_schema,
                (select coalesce(json_agg(json_build_object('type', o.type, 'name', o.name, 'quoted', o.quoted,
                          'definition', o.definition, 'compared', o.compared, 'facts', o.facts)
                          order by o.rank, coalesce((o.facts ->> 'position')::int, 0), o.name collate "C"), '[]')
                 from o) as objects,
                (select coalesce(json_agg(json_build_array(tie.type, tie.name, tie.on_type, tie.on_name)), '[]') from tie) as ties,
                (select coalesce(json_agg(json_build_object('type', x.type, 'name', x.name, 'kind', x.kind, 'what', x.what)
                          order by x.what collate "C"), '[]')
                 from outside x) as outside,
                (select coalesce(json_agg(json_build_object('type', x.type, 'name', x.name, 'definition', x.definition, 'what', x.what)
                          order by x.what collate "C"), '[]')
                 from lower x) as lower,
                (%s) as kin, (%s) as lacks$sql$,
         parts[1], steep_repl._schema_kin(wanted), steep_repl._schema_lacks(parts[1], parts[2], wanted))) q;
  here := jsonb_set(here, '{objects}', steep_repl._schema_with_default_errors(here -> 'objects'));
  if here -> 'objects' = '[]' and there -> 'objects' = '[]' then
    raise exception 'table "%.%" exists neither here nor at the peer', parts[1], parts[2] using errcode = 'undefined_table',
      hint = 'Temporary tables, and those of the system and of extensions, are not compared.';
  end if;
end
$fn$;
comment on function steep_repl._schema_sides(text, text, text) is 'private: the objects of a table on both sides';
