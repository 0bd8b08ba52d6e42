-- What start_pair would run, on which side, without running it.

-- Where things will be and how they will be called, beside what was found on both sides: what _pair_look says once there is a plan.
create function steep_repl._pair_plan_facts(params jsonb, closely jsonb) returns jsonb
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  peer constant text := params ->> 'peer';
  local_node constant text := coalesce(closely -> 'back' ->> 'node_id', '');
begin
  return jsonb_build_object(
    'closely', closely,
    'pair', jsonb_build_object('pair_id', 'PAIR_ID', 'stepped_at', 'STEPPED_AT', 'has_schema', false, 'is_shared', false),
    'names', steep_repl._pair_names(local_node, peer), 'peer_names', steep_repl._pair_names(peer, local_node),
    'server', (select n.foreign_server from steep_repl.nodes n where n.node_id = peer), 'peer_server', closely -> 'back' ->> 'server',
    'path', steep_repl._pair_path('PAIR_ID.1', params ->> 'output_path', ''),
    'peer_path', steep_repl._pair_path('PAIR_ID.1', coalesce(params ->> 'output_path', steep_repl._first_directory(
                   closely -> 'there' -> 'server' ->> 'directories')), '.fetched'),
    'here', closely -> 'here' -> 'objects', 'there', closely -> 'there' -> 'objects', 'merge', null, 'overlap', null);
end
$fn$;
comment on function steep_repl._pair_plan_facts(jsonb, jsonb) is 'private: what a pair that is not there yet would be decided by';

create function steep_repl._pair_plan(
  peer text, tables text[] default null, schemas text[] default null, existing text default 'refuse', strategy text default 'prefer-local',
  last_modified_column text default null, sequences text default 'interleave', parallel int default 4, output_path text default null,
  exclude_tables text[] default null,
  out step bigint, out kind text, out side text, out phase text, out name text, out sql text) returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  params constant jsonb := steep_repl._call('pair_params', jsonb_build_object(
    'peer', peer, 'tables', tables, 'schemas', schemas, 'existing', existing, 'exclude_tables', exclude_tables, 'strategy', strategy,
    'last_modified_column', last_modified_column, 'sequences', sequences, 'parallel', parallel, 'output_path', output_path));
  facts constant jsonb := steep_repl._pair_plan_facts(params, steep_repl._pair_look_once(params));
begin
  return query
    select s.ordinality, s.value ->> 'kind', s.value ->> 'side', s.value ->> 'phase', s.value ->> 'name', s.value ->> 'sql'
    from jsonb_array_elements(steep_repl._call('pair_plan', jsonb_build_object('params', params, 'facts', facts))) with ordinality s;
end
$fn$;
comment on function steep_repl._pair_plan(text, text[], text[], text, text, text, text, int, text, text[]) is 'private: each statement that start_pair would run, on which side';
