-- Which of the rows that differ are just in flight.

-- Slots through which either side gets the other's changes: the subscriber knows a slot by its name only.
create function steep_repl._overlap_slots(connection text, out to_peer text[], out from_peer text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  subscriptions constant text := $sql$
    select s.subslotname::text as name from pg_subscription s
    where s.subslotname is not null and s.subdbid = (select d.oid from pg_database d where d.datname = current_database())$sql$;
  slots constant text := $sql$
    select s.slot_name::text as name from pg_replication_slots s
    where s.slot_type = 'logical' and s.plugin = 'pgoutput' and s.database = current_database()$sql$;
begin
  execute format('select array_agg(s.name) from (%s) s join jsonb_to_recordset($1) p(name text) using (name)', slots)
    into to_peer using steep_repl._peer_json(connection, subscriptions);
  execute format('select array_agg(s.name) from (%s) s join jsonb_to_recordset($1) p(name text) using (name)', subscriptions)
    into from_peer using steep_repl._peer_json(connection, slots);
end
$fn$;
comment on function steep_repl._overlap_slots(text) is 'private: slots through which the two sides replicate to each other';

-- None, where what waits to be replicated is to be discarded: it will never arrive.
create function steep_repl._overlap_slots(connection text, plan jsonb, out to_peer text[], out from_peer text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if plan -> 'ignores_replication' is distinct from 'true' then
    select s.to_peer, s.from_peer into to_peer, from_peer from steep_repl._overlap_slots(connection) s;
  end if;
end
$fn$;
comment on function steep_repl._overlap_slots(text, jsonb) is 'private: slots through which a table''s changes may be in flight';

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

-- Waits until each side has replayed what the other had written by these positions; false after the deadline.
create function steep_repl._overlap_catch_up(
  connection text, slots record, lsns record, deadline timestamptz) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  behind constant text := 'select count(*)::int as n from pg_replication_slots s where s.slot_name = any (%L::text[]) and s.confirmed_flush_lsn < %L::pg_lsn';
  pause float8 := 0.02;
  n int;
begin
  loop
    execute format(behind, slots.to_peer, lsns.local_lsn) into n;
    if n = 0 then
      n := (steep_repl._peer_json(connection, format(behind, slots.from_peer, lsns.peer_lsn)) -> 0 ->> 'n')::int;
    end if;
    if n = 0 or clock_timestamp() > deadline then
      return n = 0;
    end if;
    perform pg_sleep(pause);
    pause := least(pause * 1.5, 0.25);
  end loop;
end
$fn$;
comment on function steep_repl._overlap_catch_up(text, record, record, timestamptz) is 'private: waits until both sides have replayed the other''s changes';

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
-- look, and the next look finds both rows as they were. How many turned out to be equal.
create function steep_repl._overlap_settle(connection text, plan jsonb, timeout interval) returns bigint
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + timeout;
  slots constant record := steep_repl._overlap_slots(connection, plan);
  lsns record;
  n_equal bigint := 0;
begin
  if not exists (select from pg_temp.steep_repl_differences d where not d.is_settled) then
    return 0;
  end if;
  if slots.to_peer is null and slots.from_peer is null then
    n_equal := steep_repl._overlap_look_at_all(connection, plan, false);
  end if;
  while exists (select from pg_temp.steep_repl_differences d where not d.is_settled) loop
    select * into lsns from steep_repl._lsns_to_reach(connection);
    exit when not steep_repl._overlap_catch_up(connection, slots, lsns, deadline);
    n_equal := n_equal + steep_repl._overlap_look_at_all(connection, plan, true);
    exit when clock_timestamp() > deadline;
  end loop;
  update pg_temp.steep_repl_differences d
  set category = case when not d.is_settled then 'unsettled' when d.peer_digest is null then 'local_only'
                      when d.local_digest is null then 'remote_only' else 'conflict' end
  -- of many rows, most stay what they were
  where d.category <> case when not d.is_settled then 'unsettled' when d.peer_digest is null then 'local_only'
                           when d.local_digest is null then 'remote_only' else 'conflict' end;
  return n_equal;
end
$fn$;
comment on function steep_repl._overlap_settle(text, jsonb, interval) is 'private: tells rows that differ from rows in flight; how many are equal after all';
