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
  return steep_repl._peer_wait(connection, query)::jsonb;
end
$fn$;
comment on function steep_repl._merge_query_by_keys(text, text, text) is 'private: the same of a query that finds rows by their keys';

-- Rows that were left as they are: how many of each table, and which, but for those that were to be kept: of a table that an undo
-- skips, all that the merge wrote to it.
create function steep_repl._merge_find_left(undoes text) returns jsonb
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  result jsonb := '{}';
  target record;
begin
  create temp table steep_repl_left (id bigint generated always as identity primary key, name text, key jsonb, reason text) on commit preserve rows;
  for target in
    select t.no, t.name, p.plan from steep_repl._merge_tables_with_rows() r(no) join pg_temp.steep_repl_tables t using (no)
    join pg_temp.steep_repl_plans p using (no)
  loop
    perform steep_repl._merge_switch(target.no);
    insert into pg_temp.steep_repl_left (name, key, reason)
    select target.name, jsonb_object(array(select jsonb_array_elements_text(target.plan -> 'key')), d.key),
           coalesce(d.reason, 'changes of it had yet to be replicated')
    from pg_temp.steep_repl_differences d where d.action in ('again', 'left') or d.differs order by d.no;
    result := result || jsonb_build_object(target.name,
      (select coalesce(sum(d.n), 0)::bigint
       from (select d.action, d.category, d.differs, count(*) as n from pg_temp.steep_repl_differences d group by 1, 2, 3) d
       where coalesce(d.action, actions ->> d.category) in ('keep', 'manual', 'left', 'again') or d.differs));
  end loop;
  for target in select s.name, s.reason from pg_temp.steep_repl_skipped s where undoes is not null loop
    insert into pg_temp.steep_repl_left (name, key, reason)
    select target.name, a.key, target.reason from steep_repl.merge_audit_log a
    where a.merge_id = undoes and a.table_name = target.name group by a.key order by min(a.id);
    result := result || jsonb_build_object(target.name, (select count(*) from pg_temp.steep_repl_left l where l.name = target.name));
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._merge_find_left(text) is 'private: how many rows of each table were left as they are';

-- Some of those rows, after one of them, as they are kept; none: [].
create function steep_repl._merge_list_left(after bigint, out last bigint, out rows text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select coalesce(max(l.id), after), coalesce(json_agg(json_build_object('table_name', l.name, 'key', l.key, 'reason', l.reason) order by l.id), '[]')::text
  into last, rows
  from (select * from pg_temp.steep_repl_left l where l.id > after order by l.id limit 5000) l;
end
$fn$;
comment on function steep_repl._merge_list_left(bigint) is 'private: the next rows that were left as they are';

-- Leaves the peer as it was, whether or not the merge came to its end.
create function steep_repl._merge_close(connection text, merge_id text, has_failed boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  origin constant text := steep_repl._merge_own_origin(merge_id);
begin
  perform steep_repl._peer_set_deadline(connection, 2000);
  if to_regclass('pg_temp.steep_repl_merge') is not null and (select m.made_origin from pg_temp.steep_repl_merge m) then
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
