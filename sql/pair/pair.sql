-- The functions that users call to make a pair of two nodes.

-- Where a pair goes: a node, since the other side has to find its way as well, by a foreign server, which keeps the password.
create function steep_repl._check_pair_peer(peer text) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if peer is null or not exists (select from steep_repl.nodes n where n.node_id = peer and n.foreign_server is not null) then
    raise exception 'peer must be a registered node with a foreign server' using errcode = 'invalid_parameter_value',
      detail = 'Subscriptions connect by the options of that server and its user mapping.',
      hint = 'CREATE SERVER ... FOREIGN DATA WRAPPER dblink_fdw and CREATE USER MAPPING on both nodes, then steep_repl.register_node(..., foreign_server => ...).';
  end if;
  perform steep_repl._check_peer(peer);
end
$fn$;
comment on function steep_repl._check_pair_peer(text) is 'private: refuses what cannot be the peer of a pair';

create function steep_repl._pair_busy(peer text) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return (select p.pair_id from steep_repl.pairs p
        where p.peer = $1 and p.status in ('pending', 'running') and steep_repl._is_here(p.system_identifier, p.database_oid));
comment on function steep_repl._pair_busy(text) is 'private: the pair with a node that is being set up';

-- What decides whether there can be a pair, in a connection for that alone.
create function steep_repl._pair_look_once(params jsonb) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  peer constant text := params ->> 'peer';
  limits constant jsonb := steep_repl._call('pair_limits', params);
  connection text;
  result jsonb;
begin
  perform steep_repl._check_pair_peer(peer);
  perform steep_repl._check_targets(
    case when params -> 'tables' <> 'null' then array(select jsonb_array_elements_text(params -> 'tables')) end, null, null);
  perform steep_repl._check_scope(limits -> 'scope');
  connection := steep_repl._peer_open(peer);
  begin
    result := steep_repl._pair_look_closely(connection, peer, limits);
    perform steep_repl._peer_close(connection);
    return result;
  exception when query_canceled or others then
    perform steep_repl._peer_close(connection);
    raise;
  end;
end
$fn$;
comment on function steep_repl._pair_look_once(jsonb) is 'private: what decides whether a pair can be set up, for who only asks';

create function steep_repl.preflight(
  peer text, tables text[] default null, schemas text[] default null, existing text default 'refuse', exclude_tables text[] default null,
  sequences text default 'interleave', output_path text default null,
  out side text, out check_name text, out status text, out detail text, out fix text) returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  params constant jsonb := steep_repl._call('pair_params', jsonb_build_object(
    'peer', peer, 'tables', tables, 'schemas', schemas, 'existing', existing, 'exclude_tables', exclude_tables, 'strategy', 'prefer-local',
    'last_modified_column', null, 'sequences', sequences, 'parallel', 1, 'output_path', output_path));
begin
  return query
    select r.side, r.check_name, r.status, r.detail, r.fix
    from jsonb_to_recordset(steep_repl._call('preflight', jsonb_build_object('params', params, 'closely', steep_repl._pair_look_once(params))))
      r(side text, check_name text, status text, detail text, fix text);
end
$fn$;

create function steep_repl.start_pair(
  peer text, tables text[] default null, schemas text[] default null, existing text default 'refuse', strategy text default 'prefer-local',
  last_modified_column text default null, sequences text default 'interleave', parallel int default 4, output_path text default null,
  exclude_tables text[] default null)
returns steep_repl.pairs
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  params constant jsonb := steep_repl._call('pair_params', jsonb_build_object(
    'peer', peer, 'tables', tables, 'schemas', schemas, 'existing', existing, 'exclude_tables', exclude_tables, 'strategy', strategy,
    'last_modified_column', last_modified_column, 'sequences', sequences, 'parallel', parallel, 'output_path', output_path));
  result steep_repl.pairs;
  busy constant text := steep_repl._pair_busy(peer);
  job bigint;
begin
  perform steep_repl._check_pair_peer(peer);
  if busy is not null then
    raise exception 'pair "%" is being set up already', busy using errcode = 'object_in_use',
      hint = format('Watch it with steep_repl.pair_progress(%L), or stop it with steep_repl.cancel_pair(%1$L).', busy);
  end if;
  job := steep_repl._queue_with_peer('pair', peer, tables, null, params);
  select p.* into result from steep_repl.pairs p where p.operation_id = job;
  return result;
end
$fn$;
