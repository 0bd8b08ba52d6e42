-- How the tables of two databases differ. One text queries the catalogs of either side, so that both
-- answer alike: the settings that change how definitions are printed are the same on both.

create function steep_repl._query_here(query text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
@SET_VALUES@ as $fn$
begin
  return steep_repl._one_text(steep_repl._query_as_json(query))::jsonb;
end
$fn$;
comment on function steep_repl._query_here(text) is 'private: rows that this database answers to a query, under the settings of a session at a peer';

create function steep_repl._query_both(peer text, query text, out here jsonb, out there jsonb)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  connection text;
begin
  -- the port of a node that nobody connects to may be anything
  if exists (select from steep_repl.nodes n where n.node_id = peer and steep_repl._is_this_database(n)) then
    raise exception 'peer is this very database' using errcode = 'invalid_parameter_value',
      detail = format('It is node "%s".', peer);
  end if;
  connection := steep_repl._peer_open(peer);
  -- both sides work at the same time
  perform steep_repl._peer_send(connection, steep_repl._query_as_json(query));
  here := steep_repl._query_here(query);
  there := steep_repl._peer_wait(connection, query)::jsonb;
  perform steep_repl._peer_close(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;
comment on function steep_repl._query_both(text, text) is 'private: rows that this database and a peer answer to the same query';
