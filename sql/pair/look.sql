-- What there is of a pair, on both sides: all that the next step is decided by.

-- names: of _pair_names. path: where this side has the snapshot.
create function steep_repl._pair_objects(names jsonb, path text) returns jsonb
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select jsonb_build_object(
    'publication', (
      select jsonb_build_object('all_tables', p.puballtables, 'via_root', p.pubviaroot,
               'is_whole', p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate,
               -- those of which it has all columns and rows; pg_publication_tables would wait for who has locked one
               'tables', (select coalesce(jsonb_agg(format('%I.%I', n.nspname, c.relname) order by n.nspname, c.relname), '[]')
                          from pg_publication_rel r join pg_class c on c.oid = r.prrelid join pg_namespace n on n.oid = c.relnamespace
                          where r.prpubid = p.oid and r.prattrs is null and r.prqual is null))
      from pg_publication p where p.pubname = names ->> 'publication'),
    'subscription', (
      select jsonb_build_object('is_enabled', s.subenabled, 'slot', s.subslotname, 'publications', s.subpublications, 'origin', s.suborigin,
               'is_connected', exists (select from pg_stat_subscription t where t.subid = s.oid and t.worker_type = 'apply' and t.received_lsn is not null),
               'error', (select format('%s (at %s)', e.message, e."position") from steep_repl._apply_errors() e where e.subscription = s.oid))
      from pg_subscription s
      where s.subname = names ->> 'subscription' and s.subdbid = (select d.oid from pg_database d where d.datname = current_database())),
    'slot', (
      select jsonb_build_object('plugin', s.plugin)
      from pg_replication_slots s where s.slot_name = names ->> 'slot' and s.database = current_database()),
    'jobs', (
      select coalesce(jsonb_agg(jsonb_build_object(
               'id', n.snapshot_id, 'operation', n.operation, 'operation_id', n.operation_id::text, 'status', n.status,
               'error', n.error_message, 'hint', n.error_hint, 'sqlstate', n.error_sqlstate,
               'sections', coalesce(w.params -> 'sections', '[]')) order by n.created_at), '[]')
      from steep_repl.snapshots n left join steep_repl.work_queue w on w.id = n.operation_id
      where n.storage_path = $2 and steep_repl._is_here(n.system_identifier, n.database_oid) and pg_has_role(n.requested_by_oid, 'MEMBER')))
$fn$;
comment on function steep_repl._pair_objects(jsonb, text) is 'private: what of a pair is on this side';

-- Runs a query for one text on a side; $1 is the connection to the peer.
create function steep_repl._pair_ask(connection text, query text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_send(connection, query);
  return steep_repl._peer_wait(connection, query);
end
$fn$;
comment on function steep_repl._pair_ask(text, text) is 'private: what the peer answers to a query for one text, or nothing to a command';

create function steep_repl._pair_run(connection text, side text, query text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer text;
begin
  if side = 'peer' then
    return steep_repl._pair_ask(connection, query);
  elsif query ~ '^select ' then
    execute query into answer using connection;
    return answer;
  end if;
  execute query;
  return null;
end
$fn$;
comment on function steep_repl._pair_run(text, text, text) is 'private: runs a statement of a pair, here with the connection as $1';

-- Half of what decides whether there can be a pair: the part that a side says of itself.
create function steep_repl._pair_half(limits jsonb, names jsonb) returns jsonb
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select jsonb_build_object('server', steep_repl._pair_server(), 'role', steep_repl._pair_role(), 'others', steep_repl._pair_others(names),
                            'tables', t.tables, 'objects', steep_repl._pair_objects(names, null),
                            'sequences', steep_repl._pair_sequences(array(select x ->> 'name' from jsonb_array_elements(t.tables) x)))
  from (select steep_repl._pair_tables(limits, true) as tables) t
$fn$;
comment on function steep_repl._pair_half(jsonb, jsonb) is 'private: all that this side has to say before it becomes half of a pair';

-- Tables that both sides have, and have differently.
create function steep_repl._pair_differing(connection text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  found constant record := steep_repl._table_fingerprints(connection, null);
begin
  return to_jsonb(steep_repl._tables_unlike(
    array(select jsonb_object_keys(found.here) intersect select jsonb_object_keys(found.there)), found.here, found.there));
end
$fn$;
comment on function steep_repl._pair_differing(text) is 'private: tables whose definitions differ';

-- Which of the peer's nodes is this database.
create function steep_repl._pair_ask_back(connection text) returns jsonb
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select steep_repl._pair_ask($1, format('select steep_repl._pair_back(%L, %L)::text', steep_repl._system_identifier(), d.oid))::jsonb
  from pg_database d where d.datname = current_database()
$fn$;
comment on function steep_repl._pair_ask_back(text) is 'private: what the peer says of its node that is this database';

-- A peer without steep_repl, or with another version, says nothing.
create function steep_repl._pair_look_closely(connection text, peer text, limits jsonb) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  peer_version constant text := steep_repl._pair_ask(connection, $$select coalesce((
    select x.extversion from pg_catalog.pg_extension x where x.extname = 'steep_repl'), '')$$);
  back jsonb := '{}';
  names jsonb;
  here jsonb;
  there jsonb;
begin
  if peer_version = steep_repl.version() then
    back := steep_repl._pair_ask_back(connection);
  end if;
  names := steep_repl._pair_names(coalesce(back ->> 'node_id', ''), peer);
  here := steep_repl._pair_half(limits, names);
  if peer_version = steep_repl.version() then
    there := steep_repl._pair_ask(connection, format('select steep_repl._pair_half(%L, %L)::text', limits,
                                                     steep_repl._pair_names(peer, coalesce(back ->> 'node_id', ''))));
  end if;
  return jsonb_build_object('here', here, 'there', there, 'back', back, 'names', names, 'peer_version', peer_version,
                            'local_node', (select min(n.node_id) from steep_repl.nodes n where steep_repl._is_this_database(n)),
                            'differing', case when there is not null then steep_repl._pair_differing(connection) end);
end
$fn$;
comment on function steep_repl._pair_look_closely(text, text, jsonb) is 'private: what decides whether a pair can be set up';

-- Only one job, or drop_pair, is at a pair at a time, from whichever side it is.
create function steep_repl._pair_turn_key(names jsonb) returns bigint
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return ('x' || left(md5('steep_repl ' || (names ->> 'publication')), 16))::bit(64)::bigint;
comment on function steep_repl._pair_turn_key(jsonb) is 'private: the advisory lock of a pair';

-- At the peer for as long as that connection, here for as long as the transaction or the session. Those of a job that was killed may end
-- a moment later.
create function steep_repl._pair_take_turn(connection text, names jsonb, is_for_session boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  key constant bigint := steep_repl._pair_turn_key(names);
  give_up constant timestamptz := clock_timestamp() + interval '10 s';
  is_ours boolean;
begin
  loop
    is_ours := case when is_for_session then pg_try_advisory_lock(key) else pg_try_advisory_xact_lock(key) end;
    if is_ours then
      if steep_repl._pair_ask(connection, format('select pg_catalog.pg_try_advisory_lock(%s)::text', key)) = 'true' then
        return;
      end if;
      if is_for_session then
        perform pg_advisory_unlock(key);
      end if;
    end if;
    if clock_timestamp() > give_up then
      raise exception 'another job is at a pair of these nodes' using errcode = 'object_in_use',
        detail = 'It was started on the other node, or in another session.',
        hint = 'See steep_repl.pair_progress() on both nodes, and wait for it or cancel it there.';
    end if;
    -- both sides began at once
    perform pg_sleep(0.05 + random() * 0.2);
  end loop;
end
$fn$;
comment on function steep_repl._pair_take_turn(text, jsonb, boolean) is 'private: keeps others from the pair on both sides, or says that one is at it';

-- A peer that cannot be half of a pair is left to the checks.
create function steep_repl._pair_begin(connection text, peer text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if steep_repl._pair_ask(connection, $$select coalesce((
       select x.extversion from pg_catalog.pg_extension x where x.extname = 'steep_repl'), '')$$) = steep_repl.version() then
    perform steep_repl._pair_take_turn(connection, steep_repl._pair_names(coalesce(steep_repl._pair_ask_back(connection) ->> 'node_id', ''), peer), true);
  end if;
end
$fn$;
comment on function steep_repl._pair_begin(text, text) is 'private: has a job be the only one that is at a pair';

create function steep_repl._first_directory(directories text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return btrim(split_part(directories, ',', 1));
comment on function steep_repl._first_directory(text) is 'private: the first of a list that the setting of that name has';

-- Where a side has the snapshot: below the directory that was given, or its own first one for snapshots.
create function steep_repl._pair_path(pair_id text, output_path text, suffix text) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return rtrim(coalesce(output_path, steep_repl._first_directory(steep_repl._pair_setting('steep_repl.snapshot_directories'))), '/') || '/' || pair_id || suffix;
comment on function steep_repl._pair_path(text, text, text) is 'private: where a side has the snapshot of a pair; NULL where that is not known';

create function steep_repl._pair_look(connection text, params jsonb, pair_id text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  pair constant steep_repl.pairs := steep_repl._pair(pair_id);
  peer constant text := params ->> 'peer';
  result jsonb := jsonb_build_object('pair', to_jsonb(pair));
  round constant text := pair_id || '.' || pair.round;
  names constant jsonb := steep_repl._pair_names(pair.local_node, peer);
  peer_names constant jsonb := steep_repl._pair_names(peer, pair.local_node);
  path constant text := steep_repl._pair_path(round, params ->> 'output_path', '');
  there jsonb;
begin
  if pair.local_node is null then
    return (result || jsonb_build_object('closely', steep_repl._pair_look_closely(connection, peer, steep_repl._call('pair_limits', params))))::text;
  end if;
  there := steep_repl._pair_ask(connection, format($sql$
    select jsonb_build_object(
      'server', (select n.foreign_server from steep_repl.nodes n where n.node_id = %L),
      'path', coalesce(p.path, ''), 'objects', steep_repl._pair_objects(%L, p.path))::text
    from steep_repl._pair_path(%L, %L, '.fetched') p(path)$sql$,
    pair.local_node, peer_names, round, params ->> 'output_path'));
  return (result || jsonb_build_object(
    'names', names, 'peer_names', peer_names,
    'server', (select n.foreign_server from steep_repl.nodes n where n.node_id = peer), 'peer_server', there -> 'server',
    'path', path, 'peer_path', there -> 'path', 'here', steep_repl._pair_objects(names, path), 'there', there -> 'objects',
    'merge', (select jsonb_build_object('status', m.status, 'operation_id', m.operation_id::text, 'error', m.error_message, 'hint', m.error_hint,
                                        'sqlstate', m.error_sqlstate)
              from steep_repl.merges m where m.merge_id = pair.merge_id),
    'overlap', (select jsonb_build_object('status', o.status, 'operation_id', o.operation_id::text, 'error', o.error_message, 'hint', o.error_hint,
                                          'sqlstate', o.error_sqlstate,
                                          'differing', o.local_only_count + o.remote_only_count + o.conflict_count, 'unsettled', o.unsettled_count)
                from steep_repl.overlaps o where o.overlap_id = pair.overlap_id)))::text;
end
$fn$;
comment on function steep_repl._pair_look(text, jsonb, text) is 'private: what there is of a pair on both sides';
