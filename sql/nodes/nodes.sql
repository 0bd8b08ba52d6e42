create function steep_repl.heartbeat(node_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update steep_repl.nodes n set last_seen = clock_timestamp() where n.node_id = heartbeat.node_id;
  return found;
end
$fn$;

create function steep_repl._warn_moved(node_id text) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  raise warning 'node "%" was this server, and is another one from now on', node_id
    using detail = 'Its host, port or foreign server are not those of this server.',
          hint = 'If you meant another node, remove this one with steep_repl.remove_node(), and register both again. This server is registered without a host.';
end
$fn$;
comment on function steep_repl._warn_moved(text) is 'private: says that a node is no longer taken for this server';

create function steep_repl._quote_conninfo(value text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return '''' || replace(replace(value, E'\\', E'\\\\'), '''', E'\\''') || '''';
comment on function steep_repl._quote_conninfo(text) is 'private: quotes a value for a libpq connection string';

create function steep_repl._may_use_node(node steep_repl.nodes) returns boolean
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select c.oid = node.registered_by_oid
         or exists (select from pg_roles r where r.oid = node.registered_by_oid
                    and (r.rolsuper or not c.rolsuper and pg_has_role(r.oid, 'MEMBER')))
  from pg_roles c where c.rolname = current_user
$fn$;
comment on function steep_repl._may_use_node(steep_repl.nodes) is 'private: whether the caller may connect where this entry says: its own, or a superuser''s';

create function steep_repl._probe(
  node steep_repl.nodes, out reachable boolean, out system_identifier text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  connection text;
  why text;
begin
  connection := steep_repl._peer_connect(steep_repl._node_target(node), node.foreign_server is not null, 3000);
  begin
    perform steep_repl._peer_send(connection, 'select system_identifier::text from pg_catalog.pg_control_system()');
    system_identifier := steep_repl._peer_answer(connection);
    if system_identifier is null or system_identifier !~ '^[0-9]{1,20}$' then
      raise exception 'what it says is its system identifier is none' using errcode = 'protocol_violation';
    end if;
  exception when query_canceled or others then
    perform steep_repl._peer_close(connection);
    raise;
  end;
  perform steep_repl._peer_close(connection);
  reachable := true;
exception
  when sqlclient_unable_to_establish_sqlconnection or connection_failure then
    get stacked diagnostics why = pg_exception_detail;
    raise warning 'cannot connect to node "%"', node.node_id
      using detail = case when steep_repl._is_of_connecting(why) then why else sqlerrm || '.' end;
    reachable := false;
  when others then
    -- We may not connect, such as without a password: that says nothing of the node.
    get stacked diagnostics why = pg_exception_detail;
    raise warning 'cannot probe node "%": %', node.node_id, sqlerrm using detail = why;
    reachable := null;
end
$fn$;
comment on function steep_repl._probe(steep_repl.nodes) is 'private: connects to a node; reachable is NULL if the caller cannot try';

-- PL/pgSQL does not let an argument and a result column share a name, which
-- callers by name want: hence the pair of functions, here and for progress.
create function steep_repl._node_status(
  wanted text, probe boolean,
  out node_id text, out node_name text, out status text, out last_seen timestamptz,
  out is_healthy boolean, out is_local boolean)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  node steep_repl.nodes;
  here constant text := steep_repl._system_identifier();
  is_writable constant boolean := current_setting('transaction_read_only') = 'off'
    and has_table_privilege('steep_repl.nodes', 'UPDATE');
  reachable boolean;
  identifier text;
begin
  if wanted is not null and not exists (select from steep_repl.nodes n where n.node_id = wanted) then
    raise exception 'node "%" is not registered', wanted
      using errcode = 'undefined_object', hint = 'Register it with steep_repl.register_node().';
  end if;
  for node in select n.* from steep_repl.nodes n where wanted is null or n.node_id = wanted order by n.node_id loop
    reachable := null;
    if probe and node.system_identifier is distinct from here and steep_repl._may_use_node(node) then
      select p.reachable, p.system_identifier into reachable, identifier from steep_repl._probe(node) p;
      if reachable then
        node.last_seen := clock_timestamp();
        node.system_identifier := identifier;
        if is_writable then
          update steep_repl.nodes n
          set last_seen = node.last_seen,
              -- what says that it is this server may be a standby of it, or lie: that is not kept
              system_identifier = case when pg_has_role(n.registered_by_oid, 'MEMBER') and identifier <> here
                                       then node.system_identifier else n.system_identifier end
          where n.node_id = node.node_id;
        end if;
      end if;
    end if;
    node_id := node.node_id;
    node_name := node.node_name;
    is_local := node.system_identifier is not distinct from here;
    last_seen := case when is_local and steep_repl._launcher_is_alive() then clock_timestamp() else node.last_seen end;
    is_healthy := case
      when is_local then steep_repl._launcher_is_alive()
      when reachable is not null then reachable
      when last_seen is null then null
      else last_seen > clock_timestamp() - interval '30 s' end;
    status := case when is_healthy is null then 'unknown' when is_healthy then 'online' else 'offline' end;
    return next;
  end loop;
end
$fn$;
comment on function steep_repl._node_status(text, boolean) is 'private: node_status';

create function steep_repl.node_status(
  node_id text default null, probe boolean default false,
  out node_id text, out node_name text, out status text, out last_seen timestamptz,
  out is_healthy boolean, out is_local boolean)
returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as 'select s.* from steep_repl._node_status($1, $2) s';

create function steep_repl.remove_node(node_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  delete from steep_repl.nodes n where n.node_id = remove_node.node_id;
  return found;
end
$fn$;
