-- What replicates between this database and others, from the catalogs and statistics here. Any role may ask; what PostgreSQL
-- shows only to some is NULL for the others. 64-bit numbers and times (in seconds) are text.

create function steep_repl._subscription_facts() returns jsonb
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
           'name', s.subname, 'slot', s.subslotname, 'is_enabled', s.subenabled, 'is_connected', w.received_lsn is not null,
           'lag_bytes', (w.received_lsn - w.latest_end_lsn)::text,
           'lag', case when w.received_lsn > w.latest_end_lsn then greatest(0, extract(epoch from clock_timestamp() - w.latest_end_time))::text else '0' end,
           'tables_total', t.total, 'tables_ready', t.ready, 'tables_waiting', t.waiting,
           'apply_errors', x.apply_error_count::text, 'sync_errors', x.sync_error_count::text,
           'conflicts', (x.confl_insert_exists + x.confl_update_origin_differs + x.confl_update_exists + x.confl_update_missing
                         + x.confl_delete_origin_differs + x.confl_delete_missing + x.confl_multiple_unique_conflicts)::text,
           'error', case when e.message is not null then format('%s (at %s)', e.message, e."position") end)
         order by s.subname), '[]')
  from pg_subscription s
  left join pg_stat_subscription w on w.subid = s.oid and w.worker_type = 'apply' and w.pid is not null
  left join pg_stat_subscription_stats x on x.subid = s.oid
  left join steep_repl._apply_errors() e on e.subscription = s.oid
  cross join lateral (
    select count(*) as total, count(*) filter (where r.srsubstate in ('r', 's')) as ready,
           steep_repl._joined(array_agg(r.srrelid::regclass::text order by r.srrelid::regclass::text)
                              filter (where r.srsubstate not in ('r', 's') and y.pid is null)) as waiting
    from pg_subscription_rel r
    left join pg_stat_subscription y on y.subid = s.oid and y.relid = r.srrelid and y.worker_type = 'table synchronization'
    where r.srsubid = s.oid) t
  where s.subdbid = (select d.oid from pg_database d where d.datname = current_database())
$fn$;
comment on function steep_repl._subscription_facts() is 'private: subscriptions of this database and how they fare';

create function steep_repl._slot_facts() returns jsonb
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
           'name', s.slot_name, 'is_active', s.active, 'wal_status', s.wal_status, 'invalidation', s.invalidation_reason,
           'inactive_since', s.inactive_since::text, 'lag_bytes', (p.now_at - s.confirmed_flush_lsn)::text, 'retained_bytes', (p.now_at - s.restart_lsn)::text,
           'state', r.state,
           'lag', coalesce(extract(epoch from r.replay_lag), extract(epoch from clock_timestamp() - s.inactive_since))::text)
         order by s.slot_name), '[]')
  from pg_replication_slots s
  left join pg_stat_replication r on r.pid = s.active_pid
  cross join (select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end as now_at) p
  where s.slot_type = 'logical' and s.database = current_database() and not s.temporary
$fn$;
comment on function steep_repl._slot_facts() is 'private: logical slots of this database and who reads them';

create function steep_repl._replication_facts() returns jsonb
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select jsonb_build_object(
    'subscriptions', steep_repl._subscription_facts(), 'slots', steep_repl._slot_facts(),
    'limits', jsonb_build_object(
      'lag_bytes', pg_size_bytes(current_setting('steep_repl.lag_warning', true)),
      'lag_seconds', extract(epoch from current_setting('steep_repl.lag_time_warning', true)::interval)::bigint,
      'retained_bytes', pg_size_bytes(current_setting('steep_repl.slot_retention_warning', true))))
$fn$;
comment on function steep_repl._replication_facts() is 'private: what replicates between this database and others';

-- What replicates with which node is told by the names that pairs give: other names are of nodes that are not known.
create function steep_repl._replication_peers() returns jsonb
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object('node', n.node_id, 'part', steep_repl._pair_part(n.node_id)) order by n.node_id), '[]')
  from steep_repl.nodes n where not steep_repl._is_this_database(n)
$fn$;
comment on function steep_repl._replication_peers() is 'private: nodes, and what they are called in the names of pairs';

-- The other ends: an object of node to its own facts, or to why they are not known. One node after the other, each for a bounded time.
create function steep_repl._replication_probe(peers text[]) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  result jsonb := '{}';
  node steep_repl.nodes;
  connection text;
  found jsonb;
begin
  for node in select n.* from steep_repl.nodes n where n.node_id = any (peers) order by n.node_id loop
    connection := null;
    begin
      connection := steep_repl._peer_open(node.node_id);
      perform steep_repl._peer_set_deadline(connection, 5000);
      if steep_repl._pair_ask(connection, 'select c.system_identifier::text from pg_catalog.pg_control_system() c')
         <> node.system_identifier then
        raise exception 'another server answers there' using hint = 'Register the node anew if it was replaced.';
      end if;
      found := case when steep_repl._pair_ask(connection, $$select coalesce((
          select x.extversion from pg_catalog.pg_extension x where x.extname = 'steep_repl'), '')$$) = steep_repl.version()
        then steep_repl._pair_ask(connection, 'select steep_repl._replication_facts()::text')::jsonb
        else jsonb_build_object('problem', 'steep_repl is missing there, or has another version') end;
    exception when query_canceled then
      perform steep_repl._peer_close(connection);
      raise;
    when others then
      found := jsonb_build_object('problem', sqlerrm);
    end;
    result := result || jsonb_build_object(node.node_id, found);
    perform steep_repl._peer_close(connection);
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._replication_probe(text[]) is 'private: what other nodes say of their ends';
