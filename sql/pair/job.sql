-- What the coordinator of a pair asks as the requester, and what it waits for. Each answers what is yet to come, or an empty text.

create function steep_repl._pair_subscribe(name text, server text, publication text, slot_name text, is_enabled boolean) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_pair_subscribe';
comment on function steep_repl._pair_subscribe(text, text, text, text, boolean) is 'private: subscribes to a node by the options of its foreign server, without copying, to what has no origin';

create function steep_repl._pair_create_slot(slot_name text) returns text
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
return (pg_create_logical_replication_slot(slot_name, 'pgoutput')).lsn::text;
comment on function steep_repl._pair_create_slot(text) is 'private: makes the slot that a subscription of the other node reads';

create function steep_repl._pair_waits_for(id text) returns text
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select coalesce((
    select format('%s %s: %s, %s %%%s', j.operation, $1, coalesce(nullif(l.phase, ''), j.phase), round(coalesce(l.overall_percent::numeric, j.percent)),
                  coalesce(', ' || nullif(l.current_table, ''), '') || coalesce(', ' || nullif(w.status_detail, ''), ''))
    from (select s.operation_id, s.operation, s.phase, s.overall_percent as percent, s.status from steep_repl.snapshots s where s.snapshot_id = $1
          union all
          select m.operation_id, 'merge', m.phase, m.overall_percent, m.status from steep_repl.merges m where m.merge_id = $1
          union all
          select o.operation_id, 'comparison', o.phase, o.overall_percent, o.status from steep_repl.overlaps o where o.overlap_id = $1) j
    left join steep_repl._live_jobs() l on l.id = j.operation_id
    left join steep_repl.work_queue w on w.id = j.operation_id
    where j.status in ('pending', 'running')), '')
$fn$;
comment on function steep_repl._pair_waits_for(text) is 'private: how far a job is, empty once it is over';

-- Transactions that write and began before that moment, in whatever database: a slot begins when they are over.
create function steep_repl._pair_waits_for_transactions(since timestamptz) returns text
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select coalesce('waiting for transactions that began before: ' || steep_repl._joined(array(
    select format('process %s', l.pid) || coalesce(format(' of %s since %s', a.usename, a.xact_start), '')
    from pg_locks l left join pg_stat_activity a using (pid)
    where l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted and l.pid <> pg_backend_pid() and a.xact_start < $1
    union all
    select format('prepared transaction %L of database %I', p.gid, p.database) from pg_prepared_xacts p where p.prepared < $1)), '')
$fn$;
comment on function steep_repl._pair_waits_for_transactions(timestamptz) is 'private: what keeps a slot from being made; empty if nothing does';

-- Both subscriptions receive, or one fails, or has not come up within a minute.
create function steep_repl._pair_waits_for_subscriptions(connection text, names jsonb, peer_names jsonb, since timestamptz) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  sides constant jsonb[] := array[
    steep_repl._pair_objects(names, null),
    steep_repl._pair_ask(connection, format('select steep_repl._pair_objects(%L, null)::text', peer_names))::jsonb];
  missing constant text := (
    select string_agg(n.name, ', ') from unnest(sides, array[names ->> 'subscription', peer_names ->> 'subscription']) n(side, name)
    where n.side -> 'subscription' -> 'is_connected' is distinct from 'true');
begin
  if clock_timestamp() > since + interval '1 min'
     or exists (select from unnest(sides) s(side) where s.side -> 'subscription' ->> 'error' is not null) then
    return '';
  end if;
  return coalesce('waiting for subscriptions to connect: ' || missing, '');
end
$fn$;
comment on function steep_repl._pair_waits_for_subscriptions(text, jsonb, jsonb, timestamptz) is 'private: which subscriptions of a pair are not connected yet';

-- What it writes, as the extension's owner. A slot of the snapshot is the subscription's from then on, whatever becomes of the snapshot.
create function steep_repl._pair_keep(operation_id bigint, step text, keeps text, answer text) returns void
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.pairs p
  set step = $2,
      local_node = case $3 when 'plan' then $4::jsonb ->> 'local_node' else p.local_node end,
      tables = case $3 when 'plan' then array(select jsonb_array_elements_text($4::jsonb -> 'tables')) else p.tables end,
      has_schema = case $3 when 'plan' then ($4::jsonb -> 'has_schema')::boolean else p.has_schema end,
      is_shared = p.is_shared or coalesce($3 = 'shared', false),
      local_share = case $3 when 'shared' then ($4::jsonb ->> 'here')::int else p.local_share end,
      peer_share = case $3 when 'shared' then ($4::jsonb ->> 'there')::int else p.peer_share end,
      round = p.round + case when $3 = 'plan' then 1 else 0 end,
      snapshot_id = case $3 when 'snapshot' then $4 else p.snapshot_id end,
      fetch_id = case $3 when 'fetch' then $4 else p.fetch_id end,
      -- where something was made anew, changes may have been missed
      merge_id = case when $3 = 'merge' then $4 when $3 not in ('anew', 'slot') or $3 is null then p.merge_id end,
      overlap_id = case when $3 = 'overlap' then $4 when $3 not in ('anew', 'slot') or $3 is null then p.overlap_id end,
      stepped_at = clock_timestamp()
  where p.operation_id = $1;
  update steep_repl._job_directories d set slot_name = null
  from steep_repl.pairs p join steep_repl.snapshots s using (snapshot_id)
  where $3 = 'slot' and p.operation_id = $1 and d.operation_id = s.operation_id and s.requested_by_oid = p.requested_by_oid;
end;
comment on function steep_repl._pair_keep(bigint, text, text, text) is 'private: notes a step of a pair that was done, and what it has made';

create function steep_repl._pair_removed(operation_id bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.pairs p set is_removed = true where p.operation_id = $1;
end;
comment on function steep_repl._pair_removed(bigint) is 'private: notes that of a pair which was cancelled nothing is left';
