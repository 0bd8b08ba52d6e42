-- What a merge does when all rows are written.

create function steep_repl._merge_query(connection text, side text, query text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return case side when 'peer' then steep_repl._peer_json(connection, query) else steep_repl._query_here(query) end;
end
$fn$;
comment on function steep_repl._merge_query(text, text, text) is 'private: rows that one side answers to a query, few and small ones';

create function steep_repl._merge_query_by_keys(connection text, side text, query text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp @SET_KEYS@ as $fn$
begin
  if side = 'local' then
    return steep_repl._query_here(query);
  end if;
  perform steep_repl._peer_send(connection, steep_repl._by_keys(steep_repl._query_as_json(query)));
  return steep_repl._peer_answer(connection)::jsonb;
end
$fn$;
comment on function steep_repl._merge_query_by_keys(text, text, text) is 'private: the same of a query that finds rows by their keys';

-- Rows that were left as they are, by table.
create function steep_repl._merge_rows_left() returns jsonb
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  result jsonb := '{}';
  target int;
begin
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    result := result || jsonb_build_object(
      (select t.name from pg_temp.steep_repl_tables t where t.no = target),
      (select coalesce(sum(d.n), 0)::bigint
       from (select d.action, d.category, count(*) as n from pg_temp.steep_repl_differences d group by 1, 2) d
       where coalesce(d.action, (select m.actions from pg_temp.steep_repl_merge m) ->> d.category) in ('keep', 'manual', 'again')));
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._merge_rows_left() is 'private: how many rows of each table were left as they are';

-- Leaves the peer as it was, whether or not the merge came to its end.
create function steep_repl._merge_close(connection text, merge_id text, has_failed boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  origin constant text := 'steep_repl_' || merge_id;
begin
  perform steep_repl._peer_set_deadline(connection, 2000);
  if to_regclass('pg_temp.steep_repl_merge') is not null and (select m.replicates from pg_temp.steep_repl_merge m) then
    if has_failed then
      -- maybe in mid-transaction, which would keep the origin
      perform steep_repl._peer_command(connection, 'rollback');
    end if;
    begin
      perform steep_repl._peer_json(connection, 'select pg_replication_origin_session_reset()');
    exception when object_not_in_prerequisite_state then
      null; -- this session has none: it is a new one
    end;
    perform steep_repl._peer_json(connection, format(
      'select pg_replication_origin_drop(o.roname) from pg_replication_origin o where o.roname = %L', origin));
  end if;
  perform steep_repl._peer_close(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise log 'steep_repl: could not tidy up at the peer of %: %', merge_id, sqlerrm;
end
$fn$;
comment on function steep_repl._merge_close(text, text, boolean) is 'private: drops the merge''s origin at the peer and disconnects';
