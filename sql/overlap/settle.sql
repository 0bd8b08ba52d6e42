-- Which of the rows that differ are just in flight.

create type steep_repl._replication_link as (
  slot text, is_here boolean, subscription text, is_enabled boolean, is_used boolean, lsn pg_lsn, origin text, pid int);
comment on type steep_repl._replication_link is 'private: a subscription of one side to the other: its slot, whether that is here, whether a session uses it, how far it has come, and the replication origin of what it brings, with the process that has it in use';

-- A FROM item: the subscriptions of this database that have a slot, and the process that is at work for each. Anybody may name a slot: of
-- several that name one, it is the one that is at work, or the oldest.
create function steep_repl._subscriptions() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$(
  select distinct on (s.subslotname) s.oid, s.subname, s.subslotname, s.subenabled, s.subpublications,
         -- before 16 there is no such column, and it is that of the list of values; all of a row may not be read
         (select suborigin::text from pg_subscription o where o.oid = s.oid) as origin, w.pid
  from pg_subscription s cross join (values ('any')) before_16(suborigin)
  -- 16 and newer have rows of parallel workers, too
  left join pg_stat_subscription w on w.subid = s.oid and w.relid is null and to_jsonb(w) ->> 'leader_pid' is null
  where s.subslotname is not null and s.subdbid = (select d.oid from pg_database d where d.datname = current_database())
  order by s.subslotname, w.pid is null, s.oid) s$sql$;
comment on function steep_repl._subscriptions() is 'private: a FROM item of the subscriptions of a database, for either side';

create function steep_repl._replication_query() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
  select (select coalesce(json_agg(json_build_object('name', s.subname, 'slot', s.subslotname, 'is_enabled', s.subenabled,
                                                     'origin', 'pg_' || s.oid, 'pid', s.pid)), '[]')
          from $sql$ || steep_repl._subscriptions() || $sql$) as subscriptions,
         (select coalesce(json_agg(json_build_object('name', s.slot_name, 'lsn', s.confirmed_flush_lsn,
                                                     'is_used', s.active and s.wal_status is distinct from 'lost')), '[]')
          from pg_replication_slots s
          where s.slot_type = 'logical' and s.plugin = 'pgoutput' and s.database = current_database()) as slots$sql$;
comment on function steep_repl._replication_query() is 'private: a query for subscriptions and for slots that some may use, for either side';

-- The subscriber knows a slot by its name only.
create function steep_repl._overlap_links(connection text) returns setof steep_repl._replication_link
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  query constant text := steep_repl._query_as_json(steep_repl._replication_query());
  answer constant record := steep_repl._on_both(connection, query, query);
begin
  return query
    select s.name, e.is_here, u.name, u.is_enabled, s.is_used, s.lsn, u.origin, u.pid
    from (values (true, answer.here::jsonb -> 0, answer.there::jsonb -> 0),
                 (false, answer.there::jsonb -> 0, answer.here::jsonb -> 0)) e(is_here, sender, subscriber)
    cross join lateral jsonb_to_recordset(e.sender -> 'slots') s(name text, lsn pg_lsn, is_used boolean)
    join lateral jsonb_to_recordset(e.subscriber -> 'subscriptions') u(name text, slot text, is_enabled boolean, origin text, pid int) on u.slot = s.name;
end
$fn$;
comment on function steep_repl._overlap_links(text) is 'private: subscriptions of the two sides to each other';

-- None, where what waits to be replicated is to be discarded: it will never arrive.
create function steep_repl._overlap_links(connection text, plan jsonb) returns setof steep_repl._replication_link
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if plan -> 'ignores_replication' is distinct from 'true' then
    return query select * from steep_repl._overlap_links(connection);
  end if;
end
$fn$;
comment on function steep_repl._overlap_links(text, jsonb) is 'private: subscriptions through which a table''s changes may be in flight';

create function steep_repl._overlap_slots(connection text, out to_peer text[], out from_peer text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select array_agg(l.slot) filter (where l.is_here), array_agg(l.slot) filter (where not l.is_here)
  into to_peer, from_peer from steep_repl._overlap_links(connection) l;
end
$fn$;
comment on function steep_repl._overlap_slots(text) is 'private: slots through which the two sides replicate to each other';

create function steep_repl._behind(link steep_repl._replication_link, local_lsn pg_lsn, peer_lsn pg_lsn) returns numeric
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return pg_wal_lsn_diff(case when link.is_here then local_lsn else peer_lsn end, link.lsn);
comment on function steep_repl._behind(steep_repl._replication_link, pg_lsn, pg_lsn) is 'private: how many bytes before positions of both sides a subscription is';

-- What was not replicated when a table was compared, in words: of subscriptions that cannot go on; of all, where waiting was in vain.
create function steep_repl._overlap_behind(connection text, plan jsonb, local_lsn pg_lsn, peer_lsn pg_lsn, has_caught_up boolean) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return steep_repl._joined(array(
    select format('subscription %I %s%s is %s behind', l.subscription, case when l.is_here then 'at the peer' else 'here' end,
                  case when not l.is_enabled then ' (disabled)' when not l.is_used then ' (not connected)' else '' end,
                  pg_size_pretty(steep_repl._behind(l, local_lsn, peer_lsn)))
    from steep_repl._overlap_links(connection, plan) l
    where steep_repl._behind(l, local_lsn, peer_lsn) > 0 and not (has_caught_up and l.is_enabled and l.is_used) order by 1));
end
$fn$;
comment on function steep_repl._overlap_behind(text, jsonb, pg_lsn, pg_lsn, boolean) is 'private: which subscriptions are how far behind, NULL for none';

create function steep_repl._lsn_query() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return 'select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end as lsn';
comment on function steep_repl._lsn_query() is 'private: a query for the WAL position behind all that is visible, for either side';

create function steep_repl._lsns(connection text, out local_lsn pg_lsn, out peer_lsn pg_lsn)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  execute steep_repl._lsn_query() into local_lsn;
  peer_lsn := (steep_repl._peer_json(connection, steep_repl._lsn_query()) -> 0 ->> 'lsn')::pg_lsn;
end
$fn$;
comment on function steep_repl._lsns(text) is 'private: WAL positions of both sides now';

-- Positions that the other side can reach: what is not on disk is not sent, such as what an open transaction has written
-- so far, this one among them. So a message is written behind it, and flushed: here at once, at the peer by a commit, as
-- versions before 17 can.
create function steep_repl._lsns_to_reach(connection text, out local_lsn pg_lsn, out peer_lsn pg_lsn)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  local_lsn := case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_logical_emit_message(false, 'steep_repl', '', true) end;
  peer_lsn := (steep_repl._peer_json(connection, $sql$
    select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_logical_emit_message(true, 'steep_repl', '') end as lsn$sql$) -> 0 ->> 'lsn')::pg_lsn;
end
$fn$;
comment on function steep_repl._lsns_to_reach(text) is 'private: WAL positions of both sides now, which replication will reach by itself';

-- Waits until each side has replayed what the other had written by these positions: is_there is false after the deadline. Who is
-- disabled is not waited for, nor, once patience is over, who is not connected. is_live: somebody is connected.
create function steep_repl._overlap_catch_up(
  connection text, lsns record, deadline timestamptz, patience timestamptz, out is_there boolean, out is_live boolean)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  pause float8 := 0.02;
begin
  loop
    select coalesce(bool_and(steep_repl._behind(l, lsns.local_lsn, lsns.peer_lsn) <= 0
                             or not l.is_enabled or not l.is_used and clock_timestamp() > patience), true),
           coalesce(bool_or(l.is_enabled and l.is_used), false)
    into is_there, is_live from steep_repl._overlap_links(connection) l;
    exit when is_there or clock_timestamp() > deadline;
    perform pg_sleep(pause);
    pause := least(pause * 1.5, 0.25);
  end loop;
end
$fn$;
comment on function steep_repl._overlap_catch_up(text, record, timestamptz, timestamptz) is 'private: waits until both sides have replayed the other''s changes';

-- Digests of the rows that differed, as they are now; NULL where there is none any more.
create function steep_repl._overlap_look(
  connection text, plan jsonb, first int, last int,
  out no int, out local_digest bigint, out peer_digest bigint, out is_equal boolean)
returns setof record
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys constant text := steep_repl._overlap_keys(plan, first, last);
  answer record;
begin
  select * into answer from steep_repl._on_both_by_keys(connection,
    steep_repl._fill(plan -> 'local' -> 'look', keys), steep_repl._fill(plan -> 'peer' -> 'look', keys));
  return query
    select d.no, l.digest, r.digest, l.exact is not distinct from r.exact
    from pg_temp.steep_repl_differences d
    left join unnest((answer.here::text[])[1]::int[], (answer.here::text[])[2]::int8[], (answer.here::text[])[3]::int8[])
      l(no, digest, exact) using (no)
    left join unnest((answer.there::text[])[1]::int[], (answer.there::text[])[2]::int8[], (answer.there::text[])[3]::int8[])
      r(no, digest, exact) using (no)
    where d.no between first and last and not d.is_settled;
end
$fn$;
comment on function steep_repl._overlap_look(text, jsonb, int, int) is 'private: looks again at rows that differed';

create function steep_repl._overlap_keys(plan jsonb, first int, last int) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys text;
begin
  execute format($sql$
    select %s from (select d.no, d.key from pg_temp.steep_repl_differences d
                    where d.no between $1 and $2 and not d.is_settled order by d.no) d$sql$, plan ->> 'keys')
  into keys using first, last;
  return keys;
end
$fn$;
comment on function steep_repl._overlap_keys(jsonb, int, int) is 'private: a FROM item of the keys of rows that differed, for either side';

-- Looks once more at all that is not settled. Rows that are equal go, and are counted; those that are as they were
-- before are settled, and so are all if nothing is in flight.
create function steep_repl._overlap_look_at_all(connection text, plan jsonb, in_flight boolean) returns bigint
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_look constant int := 5000;
  chunk record;
  n_equal bigint := 0;
  n bigint;
begin
  for chunk in
    select min(d.no) as first, max(d.no) as last
    from (select d.no, (row_number() over (order by d.no) - 1) / rows_of_look as n
          from pg_temp.steep_repl_differences d where not d.is_settled) d
    group by d.n order by d.n
  loop
    with look as materialized (
      select * from steep_repl._overlap_look(connection, plan, chunk.first, chunk.last)),
    gone as (
      delete from pg_temp.steep_repl_differences d using look where d.no = look.no and look.is_equal
      returning look.local_digest),
    changed as (
      update pg_temp.steep_repl_differences d
      set is_settled = not in_flight or (look.local_digest, look.peer_digest) is not distinct from (d.local_digest, d.peer_digest),
          local_digest = look.local_digest, peer_digest = look.peer_digest
      from look where d.no = look.no and not look.is_equal)
    select count(gone.local_digest) into n from gone;
    n_equal := n_equal + n;
  end loop;
  return n_equal;
end
$fn$;
comment on function steep_repl._overlap_look_at_all(text, jsonb, boolean) is 'private: looks again at all rows that are not settled; how many are equal';

-- Rows in flight: a difference counts when both sides have replayed what the other had written by the time of one
-- look, and the next look finds both rows as they were. How many turned out to be equal; waited: for others to catch up. Those who
-- are not connected may just be about to be, since a worker is started again after 5 s: they are waited for as long as patience says.
create function steep_repl._overlap_settle(
  connection text, plan jsonb, timeout interval, patience interval default '6 s',
  out n_equal bigint, out waited interval, out has_caught_up boolean)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + timeout;
  patient_until constant timestamptz := clock_timestamp() + least(timeout, patience);
  began timestamptz;
  lsns record;
  caught_up record;
begin
  n_equal := 0;
  waited := '0';
  has_caught_up := true;
  if not exists (select from pg_temp.steep_repl_differences d where not d.is_settled) then
    return;
  end if;
  if not exists (select from steep_repl._overlap_links(connection, plan) l where l.is_enabled) then
    n_equal := steep_repl._overlap_look_at_all(connection, plan, false);
  end if;
  while exists (select from pg_temp.steep_repl_differences d where not d.is_settled) loop
    select * into lsns from steep_repl._lsns_to_reach(connection);
    began := clock_timestamp();
    select * into caught_up from steep_repl._overlap_catch_up(connection, lsns, deadline, patient_until);
    waited := waited + (clock_timestamp() - began);
    has_caught_up := caught_up.is_there;
    exit when not has_caught_up;
    n_equal := n_equal + steep_repl._overlap_look_at_all(connection, plan, caught_up.is_live);
    exit when clock_timestamp() > deadline;
  end loop;
  update pg_temp.steep_repl_differences d
  set category = case when not d.is_settled then 'unsettled' when d.peer_digest is null then 'local_only'
                      when d.local_digest is null then 'remote_only' else 'conflict' end
  -- of many rows, most stay what they were
  where d.category <> case when not d.is_settled then 'unsettled' when d.peer_digest is null then 'local_only'
                           when d.local_digest is null then 'remote_only' else 'conflict' end;
end
$fn$;
comment on function steep_repl._overlap_settle(text, jsonb, interval, interval) is 'private: tells rows that differ from rows in flight; how many are equal after all';
