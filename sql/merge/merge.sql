-- The functions that users call to merge.

create function steep_repl.start_merge(
  peer text, tables text[], strategy text default 'prefer-local', dry_run boolean default false,
  last_modified_column text default null, local_only text default 'push', remote_only text default 'pull',
  primary_keys jsonb default null, backlog text default 'refuse', other_subscribers text default 'refuse')
returns steep_repl.merges
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  job bigint;
  params jsonb;
  result steep_repl.merges;
begin
  params := steep_repl._call('merge_params', jsonb_build_object(
    'strategy', strategy, 'dry_run', dry_run, 'last_modified_column', last_modified_column, 'local_only', local_only,
    'remote_only', remote_only, 'backlog', backlog, 'other_subscribers', other_subscribers));
  perform from steep_repl._overlap_targets(tables, primary_keys);
  perform steep_repl._peer_target(peer);
  insert into steep_repl.work_queue (operation, params)
  values ('bidirectional_merge', params || jsonb_build_object(
    'peer', steep_repl._peer_label(peer), 'is_conninfo', steep_repl._is_conninfo(peer), 'tables', tables, 'primary_keys', primary_keys))
  returning id into job;
  if steep_repl._is_conninfo(peer) then
    perform steep_repl._keep_peer(job, peer);
  end if;
  select m.* into result from steep_repl.merges m where m.operation_id = job;
  return result;
end
$fn$;

create function steep_repl._merge(merge_id text) returns steep_repl.merges
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  result steep_repl.merges;
begin
  if _merge.merge_id is null then
    raise exception 'merge_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  select m.* into result from steep_repl.merges m
  where m.merge_id = _merge.merge_id and steep_repl._is_here(m.system_identifier, m.database_oid);
  if not found then
    raise exception 'merge "%" does not exist', merge_id
      using errcode = 'undefined_object', hint = 'See steep_repl.merges.';
  end if;
  return result;
end
$fn$;
comment on function steep_repl._merge(text) is 'private: the row of a merge that the caller may see';

create function steep_repl._merge_progress(
  only_id text,
  out merge_id text, out status text, out current_table text, out tables_completed int, out tables_total int,
  out rows_merged bigint, out conflict_count bigint, out error text)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
#variable_conflict use_column
declare
  wanted text := only_id;
begin
  if wanted is not null then
    perform steep_repl._merge(wanted);
  elsif not exists (select from steep_repl.merges m where m.status in ('pending', 'running')
                    and steep_repl._is_here(m.system_identifier, m.database_oid)) then
    select m.merge_id into wanted from steep_repl.merges m
    where steep_repl._is_here(m.system_identifier, m.database_oid) order by m.created_at desc limit 1;
  end if;
  return query
    select m.merge_id, m.status, case when j.id is not null then j.current_table else m.current_table end,
           coalesce(j.tables_completed, m.tables_completed), coalesce(nullif(j.tables_total, 0), m.table_count),
           m.rows_merged, m.conflict_count, m.error_message
    from steep_repl.merges m
    left join steep_repl._live_jobs() j on j.id = m.operation_id and m.status = 'running'
    where steep_repl._is_here(m.system_identifier, m.database_oid)
      and case when wanted is null then m.status in ('pending', 'running') else m.merge_id = wanted end
    order by m.created_at;
end
$fn$;
comment on function steep_repl._merge_progress(text) is 'private: merge_progress';

create function steep_repl.merge_progress(
  merge_id text default null,
  out merge_id text, out status text, out current_table text, out tables_completed int, out tables_total int,
  out rows_merged bigint, out conflict_count bigint, out error text)
returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as 'select p.* from steep_repl._merge_progress($1) p';

create function steep_repl.wait_merge(merge_id text, timeout_seconds int default 86400) returns steep_repl.merges
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  merge constant steep_repl.merges := steep_repl._merge(wait_merge.merge_id);
begin
  perform steep_repl._check_wait(merge.operation_id, timeout_seconds);
  -- The job of a merge that is over may have been forgotten.
  if merge.status in ('pending', 'running') then
    perform steep_repl.wait_operation(merge.operation_id, timeout_seconds);
  end if;
  return steep_repl._merge(wait_merge.merge_id);
end
$fn$;

create function steep_repl.cancel_merge(merge_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  merge constant steep_repl.merges := steep_repl._merge(cancel_merge.merge_id);
begin
  if merge.status not in ('pending', 'running') then
    return false;
  end if;
  return steep_repl._cancel(merge.operation_id);
end
$fn$;

create function steep_repl.undo_merge(merge_id text, peer text default null) returns steep_repl.merges
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  merge constant steep_repl.merges := steep_repl._merge(undo_merge.merge_id);
  target text := coalesce(undo_merge.peer, merge.peer);
  job bigint;
  result steep_repl.merges;
begin
  if not pg_has_role(merge.requested_by_oid, 'MEMBER') then
    raise exception 'permission denied for merge "%"', merge_id using errcode = 'insufficient_privilege',
      detail = 'It was requested by another role.';
  end if;
  if merge.status in ('pending', 'running') then
    raise exception 'merge "%" is %', merge_id, merge.status using errcode = 'object_in_use',
      hint = format('Wait for it, or stop it with steep_repl.cancel_merge(%L).', merge_id);
  end if;
  if merge.dry_run or merge.undoes is not null then
    raise exception 'merge "%" cannot be undone', merge_id using errcode = 'object_not_in_prerequisite_state',
      detail = case when merge.dry_run then 'It was a dry run, which writes nothing.' else format('It is itself the undo of %s.', merge.undoes) end;
  end if;
  if not steep_repl._is_same_peer(target, merge.peer) then
    raise exception 'the merge was with another peer' using errcode = 'invalid_parameter_value', detail = format('It was %s.', merge.peer),
      hint = case when merge.peer = '...' then 'What was given as peer could not be told apart from a password, so that it is not known.'
                  else 'Give the peer that start_merge was given.' end;
  end if;
  if undo_merge.peer is null and steep_repl._is_conninfo(target) then
    raise exception 'peer must be given again' using errcode = 'object_not_in_prerequisite_state',
      detail = 'A connection string is kept in memory only, until the operation ends.',
      hint = format('select steep_repl.undo_merge(%L, peer => ''...'')', merge_id);
  end if;
  perform steep_repl._peer_target(target);
  job := steep_repl._queue_undo(merge.merge_id, target);
  if steep_repl._is_conninfo(target) then
    perform steep_repl._keep_peer(job, target);
  end if;
  select m.* into result from steep_repl.merges m where m.operation_id = job;
  return result;
end
$fn$;
