-- The functions that users call to merge.

create function steep_repl.start_merge(
  peer text, tables text[], strategy text default 'prefer-local', dry_run boolean default false,
  last_modified_column text default null, local_only text default 'push', remote_only text default 'pull',
  primary_keys jsonb default null, backlog text default 'refuse', other_subscribers text default 'refuse', overlap_id text default null,
  exclude_tables text[] default null, schemas text[] default null, skip_unsuitable boolean default false)
returns steep_repl.merges
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  job bigint;
  params jsonb;
  result steep_repl.merges;
begin
  params := steep_repl._call('merge_params', jsonb_build_object(
    'strategy', strategy, 'dry_run', dry_run, 'last_modified_column', last_modified_column, 'local_only', local_only,
    'remote_only', remote_only, 'backlog', backlog, 'other_subscribers', other_subscribers, 'overlap_id', overlap_id))
    || jsonb_build_object('exclude_tables', exclude_tables, 'schemas', schemas, 'skip_unsuitable', skip_unsuitable);
  if overlap_id is not null then
    if primary_keys is not null or schemas is not null then
      raise exception 'primary_keys and schemas cannot be given with overlap_id' using errcode = 'invalid_parameter_value',
        detail = 'The comparison says which tables there are, and what identifies a row.';
    end if;
    perform from steep_repl._overlap_targets(start_merge.tables, null);
    select r.tables, r.primary_keys into start_merge.tables, start_merge.primary_keys
    from steep_repl._overlap_reviewed(overlap_id, peer, start_merge.tables) r;
  end if;
  job := steep_repl._queue_with_peer('bidirectional_merge', peer, tables, primary_keys, params);
  select m.* into result from steep_repl.merges m where m.operation_id = job;
  return result;
end
$fn$;

-- The latest undo of a merge that left no row, NULL for none.
create function steep_repl._undone_by(merge_id text) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select u.merge_id from steep_repl.merges u
  where u.undoes = $1 and u.status = 'complete' and u.rows_left = 0 and steep_repl._is_here(u.system_identifier, u.database_oid)
  order by u.created_at desc limit 1
$fn$;
comment on function steep_repl._undone_by(text) is 'private: the undo that has taken all of a merge back';

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
      detail = case when merge.dry_run then 'It was a dry run, which writes nothing.' else format('It is itself the undo of %s.', merge.undoes) end,
      hint = case when merge.dry_run then 'There is nothing to take back.' else 'Start the merge again to have its rows merged once more.' end;
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
  -- what its role needs, that role is told of
  if merge.requested_by_oid = (select r.oid from pg_roles r where r.rolname = current_user) then
    perform steep_repl._check_peer(target);
  else
    perform steep_repl._peer_target(target);
  end if;
  if steep_repl._undone_by(merge.merge_id) is not null then
    raise warning 'merge "%" was taken back already, by %', merge_id, steep_repl._undone_by(merge.merge_id)
      using hint = 'Rows are given back once more only where they are what the merge has written.';
  end if;
  job := steep_repl._queue_undo(merge.merge_id, target);
  if steep_repl._is_conninfo(target) then
    perform steep_repl._keep_peer(job, target);
  end if;
  select m.* into result from steep_repl.merges m where m.operation_id = job;
  return result;
end
$fn$;

create function steep_repl.merge_rows_left(merge_id text, out table_name text, out key jsonb, out reason text) returns setof record
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
#variable_conflict use_column
begin
  if not pg_has_role((steep_repl._merge(merge_rows_left.merge_id)).requested_by_oid, 'MEMBER') then
    raise exception 'permission denied for the rows of merge "%"', merge_rows_left.merge_id using errcode = 'insufficient_privilege',
      detail = 'It was requested by another role, whose members alone see rows.';
  end if;
  return query
    select l.table_name, l.key, l.reason from steep_repl._merge_left l where l.merge_id = merge_rows_left.merge_id
    union all
    select c.table_name, c.key, 'conflict ' || c.conflict_id || ', which is to be resolved' from steep_repl.merge_conflicts c
    where c.merge_id = merge_rows_left.merge_id and c.reason = 'conflict' and c.status = 'open'
    order by 1, 2;
end
$fn$;
