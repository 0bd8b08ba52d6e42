-- Taking a pair apart: subscriptions first, which read the slots.

create function steep_repl._pair_drop_subscription(name text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if not exists (select from pg_subscription s where s.subname = name and s.subdbid = (select d.oid from pg_database d where d.datname = current_database())) then
    return 'no';
  end if;
  execute format('alter subscription %I disable', name);
  execute format('alter subscription %I set (slot_name = none)', name);
  execute format('drop subscription %I', name);
  return 'yes';
end
$fn$;
comment on function steep_repl._pair_drop_subscription(text) is 'private: drops a subscription, and leaves its slot; yes or no, if there was none';

-- A slot is in use until its reader has noticed that it is to end.
create function steep_repl._pair_drop_slot(slot_name text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  give_up constant timestamptz := clock_timestamp() + interval '10 s';
begin
  loop
    begin
      perform pg_drop_replication_slot(s.slot_name) from pg_replication_slots s where s.slot_name = _pair_drop_slot.slot_name and s.database = current_database();
      return case when found then 'yes' else 'no' end;
    exception when object_in_use then
      if clock_timestamp() > give_up then
        raise;
      end if;
    end;
    -- one that this side cannot tell to end; it may come again before the slot is gone
    begin
      perform pg_terminate_backend(s.active_pid) from pg_replication_slots s
      where s.slot_name = _pair_drop_slot.slot_name and s.active_pid is not null and clock_timestamp() > give_up - interval '8 s';
    exception when insufficient_privilege then
      null;
    end;
    perform pg_sleep(0.05);
  end loop;
end
$fn$;
comment on function steep_repl._pair_drop_slot(text) is 'private: drops a slot of this database; yes or no, if there was none';

create function steep_repl._pair_drop_publication(name text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if not exists (select from pg_publication p where p.pubname = name) then
    return 'no';
  end if;
  execute format('drop publication %I', name);
  return 'yes';
end
$fn$;
comment on function steep_repl._pair_drop_publication(text) is 'private: drops a publication; yes or no, if there was none';

-- The files of a snapshot, or of its copy, that a pair has left, once the job is over.
create function steep_repl._pair_drop_files(snapshot_id text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
begin
  if not exists (select from steep_repl.snapshots s where s.snapshot_id = _pair_drop_files.snapshot_id) then
    return 'no';
  end if;
  perform steep_repl.cancel_snapshot(snapshot_id);
  perform steep_repl.wait_snapshot(snapshot_id, 60);
  perform steep_repl.drop_snapshot(snapshot_id);
  return 'yes';
end
$fn$;
comment on function steep_repl._pair_drop_files(text) is 'private: drops a snapshot of a pair; yes or no, if there was none';

-- What is to be dropped, in order, and how that is written by hand.
create function steep_repl._pair_parts(names jsonb, peer_names jsonb, out side text, out object text, out call text, out command text)
returns setof record
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select s.side, k.kind || ' ' || n.name, format('select steep_repl._pair_drop_%s(%L)', k.kind, n.name), format(k.command, n.name)
  from (values
    (1, 'subscription', 'alter subscription %1$I disable; alter subscription %1$I set (slot_name = none); drop subscription %1$I'),
    (2, 'slot', 'select pg_drop_replication_slot(%L)'),
    (3, 'publication', 'drop publication %I')) k(rank, kind, command)
  cross join (values ('local', names), ('peer', peer_names)) s(side, names)
  cross join lateral (select s.names ->> k.kind as name) n
  order by k.rank, s.side
$fn$;
comment on function steep_repl._pair_parts(jsonb, jsonb) is 'private: what a pair consists of, in the order in which it is taken apart';

create function steep_repl._pair_forget(peer text) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_pair_forget';
comment on function steep_repl._pair_forget(text) is 'private: forgets the caller''s pairs with a node';

create function steep_repl._pair_forgotten(caller oid, peer text) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl.pairs p
  where p.peer = $2 and p.status not in ('pending', 'running') and pg_has_role($1, p.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(p.system_identifier, p.database_oid);
end;
comment on function steep_repl._pair_forgotten(oid, text) is 'private: the same, as the extension''s owner';

-- What this node is called at the peer: as the latest pair knows it, or as the peer says itself.
create function steep_repl._pair_local_node(peer text, connection text) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  result text := (
    select p.local_node from steep_repl.pairs p
    where p.peer = _pair_local_node.peer and p.local_node is not null and steep_repl._is_here(p.system_identifier, p.database_oid)
    order by p.created_at desc limit 1);
begin
  if result is null and connection is not null then
    result := steep_repl._pair_ask_back(connection) ->> 'node_id';
  end if;
  return result;
end
$fn$;
comment on function steep_repl._pair_local_node(text, text) is 'private: the name of this node at a peer, NULL where it is not known';

create function steep_repl._pair_drop_part(connection text, side text, call text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if side = 'peer' and connection is null then
    return false;
  end if;
  return steep_repl._pair_run(coalesce(connection, ''), side, call) = 'yes';
end
$fn$;
comment on function steep_repl._pair_drop_part(text, text, text) is 'private: drops a part of a pair; false if there was none, or the peer cannot be reached';

create function steep_repl.drop_pair(peer text, force boolean default false, out side text, out object text, out dropped boolean, out command text)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  connection text;
  local_node text;
  busy constant text := steep_repl._pair_busy(drop_pair.peer);
begin
  if drop_pair.peer is null or not exists (select from steep_repl.nodes n where n.node_id = drop_pair.peer) then
    raise exception 'node "%" is not registered', drop_pair.peer using errcode = 'undefined_object', hint = 'See steep_repl.nodes.';
  end if;
  if busy is not null then
    raise exception 'pair "%" is being set up', busy using errcode = 'object_in_use',
      hint = format('Wait for it, or stop it with steep_repl.cancel_pair(%L).', busy);
  end if;
  begin
    connection := steep_repl._peer_open(drop_pair.peer);
  exception when connection_failure or sqlclient_unable_to_establish_sqlconnection or invalid_password or foreign_key_violation then
    if not drop_pair.force then
      raise exception 'cannot connect to node "%"', drop_pair.peer using errcode = 'sqlclient_unable_to_establish_sqlconnection', detail = sqlerrm || '.',
        hint = format('Where the node is gone for good, drop this side alone: steep_repl.drop_pair(%L, force => true). It lists what to run on the other.',
                      drop_pair.peer);
    end if;
  end;
  begin
    local_node := steep_repl._pair_local_node(drop_pair.peer, connection);
    if local_node is null then
      raise exception 'there is no pair with node "%"', drop_pair.peer using errcode = 'undefined_object',
        detail = 'No pair with it is known here, and it has no node that leads to this database.';
    end if;
    if connection is not null then
      perform steep_repl._pair_take_turn(connection, steep_repl._pair_names(local_node, drop_pair.peer), false);
    end if;
    return query
      select p.side, p.object, steep_repl._pair_drop_part(connection, p.side, p.call), p.command
      from steep_repl._pair_parts(steep_repl._pair_names(local_node, drop_pair.peer), steep_repl._pair_names(drop_pair.peer, local_node)) p;
    return query
      select f.side, 'snapshot ' || f.id, steep_repl._pair_drop_part(connection, f.side, format('select steep_repl._pair_drop_files(%L)', f.id)),
             format('select steep_repl.drop_snapshot(%L)', f.id)
      from steep_repl.pairs p cross join lateral (values ('local', p.snapshot_id), ('peer', p.fetch_id)) f(side, id)
      where p.peer = drop_pair.peer and f.id is not null and steep_repl._is_here(p.system_identifier, p.database_oid)
        and pg_has_role(p.requested_by_oid, 'MEMBER');
    perform steep_repl._peer_close(connection);
  exception when query_canceled or others then
    perform steep_repl._peer_close(connection);
    raise;
  end;
  perform steep_repl._pair_forget(drop_pair.peer);
end
$fn$;

-- The pair was cancelled. Before a subscription is enabled nobody depends on what was made, and it is removed; what of it could not be
-- is said. Else nothing is, since both nodes may be in use: then the pair can go on from where it was.
create function steep_repl._pair_cancelled(connection text, params jsonb, pair_id text, out warnings text, out is_removed text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  pair constant steep_repl.pairs := steep_repl._pair(pair_id);
  facts jsonb;
  job record;
  part record;
  failures text[] := '{}';
begin
  if pair.local_node is null then
    warnings := '[]';
    is_removed := 'yes';
    return;
  end if;
  facts := steep_repl._pair_look(connection, params, pair_id)::jsonb;
  for job in
    select f.side, j.* from (values ('local', facts -> 'here'), ('peer', facts -> 'there')) f(side, objects),
      jsonb_to_recordset(f.objects -> 'jobs') j(id text, status text)
    where j.status in ('pending', 'running') loop
    perform steep_repl._pair_run(connection, job.side, format(
      'select steep_repl.cancel_snapshot(%1$L)::text', job.id));
  end loop;
  -- over before the pair is, or one that is tried again at once would find it cancelled later
  for job in
    select (j.value ->> 'operation_id')::bigint as id from unnest(array[facts -> 'merge', facts -> 'overlap']) j(value)
    where j.value ->> 'status' in ('pending', 'running') loop
    perform steep_repl.cancel_operation(job.id);
    perform steep_repl.wait_operation(job.id, 60);
  end loop;
  if facts -> 'here' -> 'subscription' ->> 'is_enabled' = 'true' or facts -> 'there' -> 'subscription' ->> 'is_enabled' = 'true' then
    warnings := jsonb_build_array(format('the nodes replicate already, and go on to: retry_operation(%s) finishes the pair, drop_pair(%L) ends it',
                                         pair.operation_id, pair.peer));
    is_removed := 'no';
    return;
  end if;
  for part in
    select f.side, j.id as object, format('select steep_repl._pair_drop_files(%L)', j.id) as call,
           format('select steep_repl.drop_snapshot(%L)', j.id) as command
    from (values ('local', facts -> 'here'), ('peer', facts -> 'there')) f(side, objects),
      jsonb_to_recordset(f.objects -> 'jobs') j(id text, operation text)
    where j.operation <> 'apply'
    union all
    select p.side, p.object, p.call, p.command from steep_repl._pair_parts(facts -> 'names', facts -> 'peer_names') p loop
    begin
      perform steep_repl._pair_run(connection, part.side, part.call);
    exception when others then
      failures := failures || format('%s could not be removed %s (%s): %s', part.object,
                                     case part.side when 'peer' then 'at the peer' else 'here' end, sqlerrm, part.command);
    end;
  end loop;
  if exists (select from jsonb_to_recordset(facts -> 'there' -> 'jobs') j(operation text) where j.operation = 'apply') then
    failures := failures || 'tables and rows that were loaded at the peer stay there'::text;
  end if;
  warnings := to_jsonb(failures);
  is_removed := 'yes';
end
$fn$;
comment on function steep_repl._pair_cancelled(text, jsonb, text) is 'private: removes what a pair that was cancelled has made, unless the nodes replicate; what is left to say, and whether it is gone';
