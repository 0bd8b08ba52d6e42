-- A statement that could not lock a table in time: which one, and who was in the way. PostgreSQL says neither.

-- Tables that a statement names, one way or another, and that others lock, or want to, so that some statements have to wait: an
-- answer for either side, as JSON; NULL if there is none. Of a statement that names none of them, all of the database.
create function steep_repl._lockers_query(statement text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
with statement(text) as materialized (select %L),
held as (
  select l.pid, l.granted, l.mode, l.virtualtransaction, coalesce(i.indrelid, l.relation) as relation
  from pg_locks l left join pg_index i on i.indexrelid = l.relation
  where l.locktype = 'relation' and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.pid is distinct from pg_backend_pid()
    and l.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')),
locked as (
  select h.*, format('%%I.%%I', n.nspname, c.relname) as name,
         exists (select from pg_class r join pg_namespace rn on rn.oid = r.relnamespace, statement s
                 where r.oid in (c.oid, pg_partition_root(c.oid))
                   and (strpos(s.text, format('%%I.%%I', rn.nspname, r.relname)) > 0
                        or strpos(s.text, quote_literal(rn.nspname)) > 0 and strpos(s.text, quote_literal(r.relname)) > 0)) as is_named
  from held h join pg_class c on c.oid = h.relation join pg_namespace n on n.oid = c.relnamespace
  where c.relpersistence <> 't'),
shown as (
  select k.name, k.mode <> 'AccessExclusiveLock' as is_weaker,
         format('%%s%%s %%s %%s in %%s mode%%s', coalesce('process ' || k.pid, 'a prepared transaction'),
                coalesce(' of role ' || quote_ident(a.usename), '') || coalesce(' (' || nullif(a.application_name, '') || ')', ''),
                case when k.granted then 'holds' else 'waits for' end, k.name,
                upper(regexp_replace(replace(k.mode, 'Lock', ''), '(?<=[a-z])(?=[A-Z])', ' ', 'g')),
                case when not k.granted then ' behind process ' || array_to_string(nullif(pg_blocking_pids(k.pid), '{}'), ', ') end) as line
  from locked k left join pg_stat_activity a on a.pid = k.pid
  where k.is_named or not exists (select from locked where is_named)
  order by is_weaker, not k.granted, k.name limit 5)
select json_build_object('tables', string_agg(distinct s.name, ', '), 'lines', string_agg(s.line, ', ' order by s.is_weaker, s.line))::text
from shown s having count(*) > 0$sql$, statement);
comment on function steep_repl._lockers_query(text) is 'private: a query for who locks the tables that a statement names';

-- What the peer says of itself is shown, and no more.
create function steep_repl._raise_locked(side text, locked jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  raise exception '%could not lock % within %', case side when 'peer' then 'peer: ' else '' end, left(locked ->> 'tables', 1000),
    current_setting(case side when 'peer' then 'steep_repl.lock_timeout' else 'lock_timeout' end)
    using errcode = 'lock_not_available', detail = left(locked ->> 'lines', 2000) || '.',
          hint = 'Retry when that is over, or raise steep_repl.lock_timeout.';
end
$fn$;
comment on function steep_repl._raise_locked(text, jsonb) is 'private: says which table could not be locked, and why';

-- Waits for what a query at the peer answers. Its transaction is over where it could not lock a table.
create function steep_repl._peer_wait(connection text, query text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  locked jsonb;
begin
  return steep_repl._peer_answer(connection);
exception when lock_not_available then
  begin
    perform steep_repl._peer_send(connection, 'rollback; ' || steep_repl._lockers_query(query));
    locked := steep_repl._peer_answer(connection)::jsonb;
  exception when query_canceled or others then
    locked := null; -- what was in the way is worth less than that something was
  end;
  perform steep_repl._raise_locked('peer', locked);
  raise;
end
$fn$;
comment on function steep_repl._peer_wait(text, text) is 'private: as _peer_answer, of a query that may have to wait for a lock on a table';

-- The same of a statement here.
create function steep_repl._one_text(statement text) returns text
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer text;
begin
  execute statement into answer;
  return answer;
exception when lock_not_available then
  execute steep_repl._lockers_query(statement) into answer;
  perform steep_repl._raise_locked('local', answer::jsonb);
  raise;
end
$fn$;
comment on function steep_repl._one_text(text) is 'private: what a statement answers on this side';
