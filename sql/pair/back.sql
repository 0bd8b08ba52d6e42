-- Whether, and as which node, the other side can reach this one: called there.

create function steep_repl._pair_back(system_identifier text, database_oid text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  node steep_repl.nodes;
  connection text;
  facts jsonb;
  why text;
  problems text[] := '{}';
begin
  for node in select n.* from steep_repl.nodes n where n.foreign_server is not null
                and (n.system_identifier is null or n.system_identifier = _pair_back.system_identifier) order by n.node_id loop
    begin
      connection := steep_repl._peer_open(node.node_id);
      facts := steep_repl._peer_json(connection, $$
        select (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
               (select d.oid::text from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) as database_oid,
               r.rolname as role, r.rolreplication or r.rolsuper as may_replicate
        from pg_catalog.pg_roles r where r.rolname = current_user$$) -> 0;
      perform steep_repl._peer_close(connection);
    exception when query_canceled then
      raise;
    when others then
      get stacked diagnostics why = pg_exception_detail;
      problems := problems || format('%s: %s', node.node_id, concat_ws(': ', sqlerrm, nullif(why, '')));
      perform steep_repl._peer_close(connection);
      facts := null;
    end;
    if facts ->> 'system_identifier' = _pair_back.system_identifier and facts ->> 'database_oid' = _pair_back.database_oid then
      return jsonb_build_object('node_id', node.node_id, 'server', node.foreign_server, 'role', facts ->> 'role',
                                'may_replicate', facts -> 'may_replicate', 'problems', '[]'::jsonb);
    end if;
  end loop;
  return jsonb_build_object('node_id', null, 'problems', to_jsonb(problems));
end
$fn$;
comment on function steep_repl._pair_back(text, text) is 'private: the node of this side that leads to a database, and why others did not';
