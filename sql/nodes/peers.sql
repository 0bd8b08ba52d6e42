-- Connections to the other database, by dblink's rules for who may make them: see bgworker-c/peer/peer_target.c.

create function steep_repl._node_target(node steep_repl.nodes) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return coalesce(node.foreign_server, concat_ws(' ',
  'host=' || steep_repl._quote_conninfo(coalesce(node.host, 'localhost')),
  'port=' || node.port,
  'dbname=' || steep_repl._quote_conninfo(coalesce(node.dbname, current_database())),
  'user=' || steep_repl._quote_conninfo(coalesce(node.username, current_user))));
comment on function steep_repl._node_target(steep_repl.nodes) is 'private: the connection string or foreign server of a node';

create function steep_repl._is_server(name text) returns boolean
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select has_server_privilege(s.oid, 'USAGE')
  from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
  where s.srvname = $1 and w.fdwname in ('dblink_fdw', 'postgres_fdw')
$fn$;
comment on function steep_repl._is_server(text) is 'private: whether the caller may use the foreign server of this name; NULL if there is none';

create function steep_repl._peer_target(peer text) returns text
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  node steep_repl.nodes;
begin
  if peer is null or btrim(peer) = '' then
    raise exception 'peer must not be null or empty'
      using errcode = 'invalid_parameter_value',
            hint = 'Give a connection string, a registered node or a foreign server.';
  end if;
  if steep_repl._is_conninfo(peer) then
    return peer;
  end if;
  select n.* into node from steep_repl.nodes n where n.node_id = peer;
  if found then
    if steep_repl._may_use_node(node) then
      return steep_repl._node_target(node);
    end if;
    -- anybody may register a node under the name of a server
    if steep_repl._is_server(peer) is not true then
      raise exception 'permission denied to connect to node "%"', peer
        using errcode = 'insufficient_privilege',
              detail = format('It was registered by role "%s", who could send you anywhere.', node.registered_by),
              hint = 'Register a node of your own, or let a superuser register this one.';
    end if;
    return peer;
  end if;
  if steep_repl._is_server(peer) is null then
    raise exception 'peer is neither a registered node, nor a foreign server, nor a connection string'
      using errcode = 'undefined_object',
            detail = case when peer ~ '^[[:alnum:]_.-]+$' then format('It is "%s".', peer)
                          else 'It is not shown, since it may hold a password.' end,
            hint = 'Register it with steep_repl.register_node(), create a server of dblink_fdw or postgres_fdw, or write host=... dbname=....';
  end if;
  return peer;
end
$fn$;
comment on function steep_repl._peer_target(text) is 'private: the connection string or foreign server of a peer, if the caller may use that';

create function steep_repl._peer_connect(target text, is_server boolean, ms int) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_peer_connect';
comment on function steep_repl._peer_connect(text, boolean, int) is 'private: connects to a connection string or a foreign server; the name of the connection, on which all must be done within so many ms until another deadline is set';

create function steep_repl._peer_check(target text, is_server boolean) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_peer_check';
comment on function steep_repl._peer_check(text, boolean) is 'private: refuses a connection that the caller may not make';

-- What a job would fail by, said to whoever queues it.
create function steep_repl._check_peer(peer text) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  target constant text := steep_repl._peer_target(peer);
begin
  perform steep_repl._peer_check(target, not steep_repl._is_conninfo(target));
end
$fn$;
comment on function steep_repl._check_peer(text) is 'private: refuses a peer that the caller may not connect to';

-- A connection string is kept in memory only.
create function steep_repl._queue_peer_job(operation text, peer text, params jsonb) returns bigint
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  job bigint;
begin
  perform steep_repl._check_peer(peer);
  insert into steep_repl.work_queue (operation, params)
  values (operation, params || jsonb_build_object(
    'peer', steep_repl._peer_label(peer), 'is_conninfo', steep_repl._is_conninfo(peer)))
  returning id into job;
  if steep_repl._is_conninfo(peer) then
    perform steep_repl._keep_peer(job, peer);
  end if;
  return job;
end
$fn$;
comment on function steep_repl._queue_peer_job(text, text, jsonb) is 'private: queues a job with a peer; its id';

create function steep_repl._peer_set_deadline(connection text, ms int) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_peer_set_deadline';
comment on function steep_repl._peer_set_deadline(text, int) is 'private: what is done on this connection must be done within so many ms from now; 0 is without end';

create function steep_repl._peer_send(connection text, query text) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_peer_send';
comment on function steep_repl._peer_send(text, text) is 'private: starts a query at the peer';

create function steep_repl._peer_answer(connection text) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_peer_answer';
comment on function steep_repl._peer_answer(text) is 'private: waits for what a query at the peer answers, one text';

create function steep_repl._peer_close(connection text) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_peer_close';
comment on function steep_repl._peer_close(text) is 'private: stops what still runs at the peer and disconnects; a connection that is closed stays so';

create function steep_repl._query_as_json(query text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return 'select coalesce(json_agg(q), ''[]'')::text from (' || query || ') q';
comment on function steep_repl._query_as_json(text) is 'private: a query that answers the rows of another as one text';

create function steep_repl._peer_json(connection text, query text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_send(connection, steep_repl._query_as_json(query));
  return steep_repl._peer_wait(connection, query)::jsonb;
end
$fn$;
comment on function steep_repl._peer_json(text, text) is 'private: rows that the peer answers to a query, few and small ones';

create function steep_repl._peer_version(connection text) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (steep_repl._peer_json(connection, 'select current_setting(''server_version_num'')::int as v') -> 0 ->> 'v')::int;
end
$fn$;
comment on function steep_repl._peer_version(text) is 'private: server_version_num of the peer';

create function steep_repl._peer_command(connection text, command text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_send(connection, command);
  perform steep_repl._peer_wait(connection, command);
end
$fn$;
comment on function steep_repl._peer_command(text, text) is 'private: runs a command at the peer';

-- What a role or a database at the peer may have set, and would end the session there, or change what it answers, is set in our own
-- way: plv8/build/settings-sql.ts has all of it. First what could end it at once: each of these takes microseconds. A version that
-- has not a setting is left as it is. The wait for a lock is bounded, so that nobody at the peer can hold up a job for ever.
create function steep_repl._peer_first_settings() returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$set statement_timeout = 0; set idle_session_timeout = 0; set idle_in_transaction_session_timeout = 0; set exit_on_error = off;
  select pg_catalog.set_config('transaction_timeout', '0', false)
  where pg_catalog.current_setting('transaction_timeout', true) is not null;
  set search_path = pg_catalog, pg_temp; set lock_timeout = $sql$ || quote_literal(current_setting('steep_repl.lock_timeout'));
comment on function steep_repl._peer_first_settings() is 'private: what the session at the peer sets before anything else';

create function steep_repl._peer_settings() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
  select pg_catalog.count(pg_catalog.set_config(p.name, p.setting, false))
  from (values @ROWS_OF_SETTINGS@, @ROWS_OF_PEER_SETTINGS@) p(name, setting)
  where pg_catalog.current_setting(p.name, true) is not null
$sql$;
comment on function steep_repl._peer_settings() is 'private: what the session at the peer sets';

create function steep_repl._is_of_connecting(detail text) returns boolean
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return coalesce(detail ~ '^(connection to server|could not translate host name|could not look up)', false);
comment on function steep_repl._is_of_connecting(text) is 'private: whether libpq says why there is no connection, and not what it cannot read of a string with a password';

create function steep_repl._peer_open(peer text) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  target constant text := steep_repl._peer_target(peer);
  connection text;
  detail text;
  state text;
  facts jsonb;
begin
  begin
    connection := steep_repl._peer_connect(target, not steep_repl._is_conninfo(target), 10000);
  exception
    when connection_failure then
      raise exception 'peer does not answer' using errcode = 'sqlclient_unable_to_establish_sqlconnection',
        detail = format('It is %s, and 10 s passed.', steep_repl._peer_label(peer)),
        hint = 'Check host, port and firewalls: this server connects to it, and not your program.';
    when sqlclient_unable_to_establish_sqlconnection or invalid_parameter_value or invalid_password then
      get stacked diagnostics detail = pg_exception_detail, state = returned_sqlstate;
      -- What libpq says of a string that it cannot read may hold any part of it.
      if steep_repl._peer_label(peer) = '...' or not steep_repl._is_of_connecting(detail) then
        raise exception 'peer is not a valid connection string' using errcode = 'invalid_parameter_value',
          hint = 'Write keyword=value pairs, with quotes around a value that has spaces, or a postgresql:// address.';
      end if;
      raise exception 'could not connect to the peer' using detail = detail,
        errcode = case state when '28P01' then 'invalid_password' else 'sqlclient_unable_to_establish_sqlconnection' end,
        hint = 'Check host, port, database, user and password of the peer, as this server sees them, and pg_hba.conf there.';
  end;
  begin
    perform steep_repl._peer_command(connection, steep_repl._peer_first_settings());
    perform steep_repl._peer_json(connection, steep_repl._peer_settings());
    -- a peer that has steep_repl refuses to run its tables' owners' code, but where _merge_run writes; to others it says nothing
    perform steep_repl._peer_command(connection, 'set steep_repl.trusted_code_only = on');
    facts := steep_repl._peer_json(connection,
      $$select pg_catalog.current_setting('server_version_num')::int as version,
               (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system_identifier,
               (select d.oid::text from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) as database$$) -> 0;
    if (facts ->> 'version')::int < 140000 then
      raise exception 'peer: PostgreSQL 14 or newer is needed' using errcode = 'feature_not_supported',
        detail = format('It has server_version_num %s.', facts ->> 'version');
    end if;
    if steep_repl._is_here(facts ->> 'system_identifier', (facts ->> 'database')::oid) then
      raise exception 'peer is this very database' using errcode = 'invalid_parameter_value',
        detail = format('It is %s.', steep_repl._peer_label(peer));
    end if;
    perform steep_repl._peer_set_deadline(connection, 0);
  exception when query_canceled or others then
    perform steep_repl._peer_close(connection);
    raise;
  end;
  return connection;
end
$fn$;
comment on function steep_repl._peer_open(text) is 'private: connects to a peer, with settings that make values comparable; the name of the connection';
