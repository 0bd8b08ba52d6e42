-- What waits to be replicated between the two sides of a merge.

-- Lets replication between the two sides catch up for a while, where it runs; the positions that it should have reached.
create function steep_repl._merge_wait_for_replication(
  connection text, here jsonb, there jsonb, out local_lsn pg_lsn, out peer_lsn pg_lsn)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + interval '10 s';
  lsns record;
begin
  select * into lsns from steep_repl._lsns_to_reach(connection);
  local_lsn := lsns.local_lsn;
  peer_lsn := lsns.peer_lsn;
  if not exists (select from jsonb_to_recordset((here -> 'subscriptions') || (there -> 'subscriptions')) s(enabled boolean) where not s.enabled)
     and exists (select from jsonb_to_recordset((here -> 'slots') || (there -> 'slots')) s(active boolean) where s.active) then
    perform steep_repl._overlap_catch_up(connection, lsns, deadline, deadline);
  end if;
end
$fn$;
comment on function steep_repl._merge_wait_for_replication(text, jsonb, jsonb) is 'private: waits until replication has caught up, 10 s at most';

-- What waits to be replicated between the two sides, and whether a merge may make up for losing it; given_up: tables that it is about
-- and that the caller leaves out by name. That a slot here is one of
-- the peer's subscriptions' is the peer's word: of other plugins it cannot be, and one that somebody of another name uses may be that
-- one's as well, since names of slots are unique for a server only. Those here are kept for when they are discarded.
create function steep_repl._merge_backlog(
  here jsonb, there jsonb, local_lsn pg_lsn, peer_lsn pg_lsn,
  out replicates boolean, out backlog text, out given_up text, out busy_slots text, out other_slots text, out waiting_slots text,
  out lost text, out resuming text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  waiting_here text[];
  left_out text[];
begin
  with link as (
    select '' as at, 'at the peer' as subscriber, s.name, s.client, s.active, s.is_lost, pg_wal_lsn_diff(local_lsn, s.lsn) as behind,
           u.name as subscription, u.enabled, u.tables
    from jsonb_to_recordset(here -> 'slots') s(name text, client text, active boolean, is_lost boolean, lsn pg_lsn, plugin text)
    left join jsonb_to_recordset(there -> 'subscriptions') u(name text, slot text, enabled boolean, tables text[]) on u.slot = s.name and s.plugin = 'pgoutput'
    union all
    select 'peer: ', 'here', s.name, s.client, s.active, s.is_lost, pg_wal_lsn_diff(peer_lsn, s.lsn), u.name, u.enabled, u.tables
    from jsonb_to_recordset(there -> 'slots') s(name text, client text, active boolean, is_lost boolean, lsn pg_lsn, plugin text)
    left join jsonb_to_recordset(here -> 'subscriptions') u(name text, slot text, enabled boolean, tables text[]) on u.slot = s.name and s.plugin = 'pgoutput'),
  waiting as (
    select l.* from link l where l.subscription is not null and (not l.enabled or not l.active or l.behind > 0)),
  sided as (select coalesce(bool_or(l.subscription is not null), false) as replicates from link l)
  select sided.replicates,
         steep_repl._joined(array(
           select format('%sslot %I, subscription %I %s%s, %s behind', w.at, w.name, w.subscription, w.subscriber,
                         case when w.is_lost then ' (lost: nothing of it will come, so make the slot and the subscription anew)' when not w.enabled then ' (disabled)' when not w.active then ' (not connected)' else '' end,
                         pg_size_pretty(greatest(w.behind, 0))) from waiting w order by 1)),
         array(select distinct t.name from waiting w cross join lateral unnest(w.tables) t(name)
               where t.name not in (select m.name from pg_temp.steep_repl_tables m) order by 1),
         steep_repl._joined(array(select w.at || quote_ident(w.name) from waiting w where w.active order by 1)),
         steep_repl._joined(array(
           select l.at || quote_ident(l.name) || case when l.subscription is null then ''
                    else format(' (used by %I, and named by subscription %I %s)', l.client, l.subscription, l.subscriber) end
           from link l
           where l.subscription is null and (sided.replicates or not l.active) or l.client <> l.subscription order by 1)),
         steep_repl._joined(array(select w.at || quote_ident(w.name) from waiting w order by 1)),
         array(select w.name from waiting w where w.at = ''),
         steep_repl._joined(array(select format('subscription %I %s', w.subscription, w.subscriber) from waiting w where w.is_lost order by 1)),
         steep_repl._joined(array(
           select case when w.enabled then format('the server''s log %s says why subscription %I is not connected', w.subscriber, w.subscription)
                       else format('%s: ALTER SUBSCRIPTION %I ENABLE;', w.subscriber, w.subscription) end
           from waiting w where not w.is_lost and (not w.enabled or not w.active) order by 1))
  into replicates, backlog, left_out, busy_slots, other_slots, waiting_slots, waiting_here, lost, resuming from sided;
  given_up := steep_repl._joined(array(
    select t.name from unnest(left_out) t(name), pg_temp.steep_repl_merge m
    where not steep_repl._in_scope(t.name, m.scope) or t.name in (select s.name from pg_temp.steep_repl_skipped s)));
  update pg_temp.steep_repl_merge m
  set waiting_slots = waiting_here, not_covered = array(
        select t.name from unnest(left_out) t(name)
        where steep_repl._in_scope(t.name, m.scope) and t.name not in (select s.name from pg_temp.steep_repl_skipped s));
end
$fn$;
comment on function steep_repl._merge_backlog(jsonb, jsonb, pg_lsn, pg_lsn) is 'private: what waits to be replicated between the two sides, and slots of others';

-- Subscriptions that may be to the other side, by the publications that they name, if it had their slot; none where others are to it.
create function steep_repl._merge_without_slot(here jsonb, there jsonb) returns text
language plpgsql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return steep_repl._joined(array(
    select format('%I %s (slot %I)', u.name, x.at, u.slot)
    from (values ('at the peer', here, there), ('here', there, here)) x(at, sender, subscriber)
    cross join lateral jsonb_to_recordset(x.subscriber -> 'subscriptions') u(name text, slot text, publications text[])
    where u.publications <@ steep_repl._texts(x.sender -> 'publications')
      and not exists (select from jsonb_to_recordset(x.subscriber -> 'subscriptions') s(slot text)
                      join jsonb_to_recordset(x.sender -> 'slots') l(name text) on l.name = s.slot) order by x.at, u.name));
end
$fn$;
comment on function steep_repl._merge_without_slot(jsonb, jsonb) is 'private: subscriptions to the other side whose slot is not there';

-- Subscriptions by which a side would get back what the merge takes from it and writes to the other: those that are sent rows of any
-- origin. A row that is inserted there a second time stops them.
create function steep_repl._merge_echoing(here jsonb, there jsonb, writes_anything boolean) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
begin
  return steep_repl._joined(array(
    select format('%s (of %s)', format('%I %s', u.name, x.at), case when x.writes = 'local' then 'what comes here' else 'what goes to the peer' end)
    from (values ('at the peer', 'local', here, there), ('here', 'remote', there, here)) x(at, writes, sender, subscriber)
    cross join lateral jsonb_to_recordset(x.subscriber -> 'subscriptions') u(name text, slot text, origin text, tables text[])
    join lateral jsonb_to_recordset(x.sender -> 'slots') s(name text) on s.name = u.slot
    where u.origin = 'any'
      and exists (select from pg_temp.steep_repl_tables t
                  where array[t.name, pg_partition_root(to_regclass(t.name))::text] && u.tables)
      and case when writes_anything then exists (
        -- of an undo: where its merge has written
        select from pg_temp.steep_repl_merge m join steep_repl.merge_audit_log a on a.merge_id = m.undoes where split_part(a.action, '_', 2) = x.writes)
      else exists (
        select from pg_temp.steep_repl_merge m cross join lateral jsonb_each_text(m.actions) a where split_part(a.value, '_', 2) = x.writes or a.value = 'stamps') end
    order by x.at, u.name));
end
$fn$;
comment on function steep_repl._merge_echoing(jsonb, jsonb, boolean) is 'private: subscriptions by which merged rows would come back';

-- Where a subscription is still before the change that it has failed on: what went wrong, and what leaves that transaction out.
-- here, there: what _merge_node_query answers. Who may not see an error is not told of it.
create function steep_repl._merge_apply_errors(connection text, here jsonb, there jsonb, out errors text, out commands text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  has_function constant boolean := (steep_repl._peer_json(connection, $sql$
    select exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'steep_repl' and p.proname = '_apply_errors'
                     and has_schema_privilege(n.oid, 'USAGE') and has_function_privilege(p.oid, 'EXECUTE')) as has$sql$) -> 0 -> 'has')::boolean;
begin
  with failing as (
    select x.at, e.*
    from (values (1, 'here', there, steep_repl._query_here(steep_repl._apply_errors_query())),
                 (2, 'at the peer', here, case when has_function then steep_repl._peer_json(connection, steep_repl._apply_errors_query()) end)
         ) x(no, at, sender, errors)
    cross join lateral jsonb_to_recordset(x.errors) e(subscription text, slot text, is_enabled boolean, "position" pg_lsn, message text)
    join lateral jsonb_to_recordset(x.sender -> 'slots') s(name text, lsn pg_lsn) on s.name = e.slot and s.lsn < e."position"
    order by x.no, e.subscription limit 10)
  select string_agg(format('subscription %s %s fails on the transaction that ended at %s (%s)', quote_ident(left(f.subscription, 63)), f.at, f."position", left(f.message, 300)), '; '),
         string_agg(format('%s: ALTER SUBSCRIPTION %s SKIP (lsn = %L);', f.at, quote_ident(left(f.subscription, 63)), f."position")
                    || case when f.is_enabled then '' else format(' ALTER SUBSCRIPTION %s ENABLE;', quote_ident(left(f.subscription, 63))) end, ' ')
  into errors, commands from failing f;
end
$fn$;
comment on function steep_repl._merge_apply_errors(text, jsonb, jsonb) is 'private: changes that subscriptions of the two sides to each other fail on';
