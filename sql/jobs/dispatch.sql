-- What dispatchers and removers ask and write, as the extension's owner, of the jobs of this cluster and this database.

-- The job that is next, which is locked. First those of roles of whom the fewest jobs run, then of who was served longest ago: one
-- role's queue of jobs, whether they run for long or fail at once, is not in the way of others. Roles are sorted and not their
-- jobs, of which there may be a hundred thousand; the inner query can only be run for one role after the other.
create function steep_repl._next_job(
  running oid[], served oid[], out id bigint, out requested_by_oid oid, out requested_by text, out operation text)
returns setof record
language sql volatile strict rows 1 parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select w.id, w.requested_by_oid, w.requested_by::text, w.operation
  from (select w.requested_by_oid as requester from steep_repl.work_queue w
        where w.status = 'pending' and steep_repl._is_here(w.system_identifier, w.database_oid)
        group by w.requested_by_oid
        order by cardinality(array_positions($1, w.requested_by_oid)), coalesce(array_position($2, w.requested_by_oid), 0),
                 min(w.created_at)) r
  cross join lateral (
    select w.* from steep_repl.work_queue w
    where w.status = 'pending' and w.requested_by_oid = r.requester
      and steep_repl._is_here(w.system_identifier, w.database_oid)
    order by w.created_at, w.id limit 1 for update skip locked) w
  limit 1;
end;
comment on function steep_repl._next_job(oid[], oid[]) is 'private: locks the job that is to be claimed next';

create function steep_repl._jobs_wait() returns void
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.work_queue u set status_detail = steep_repl._waiting_reason(u.operation)
  where u.id = any (array(
    select w.id from steep_repl.work_queue w
    where w.status = 'pending' and steep_repl._is_here(w.system_identifier, w.database_oid)
      and w.status_detail is distinct from steep_repl._waiting_reason(w.operation)
    for update skip locked));
end;
comment on function steep_repl._jobs_wait() is 'private: tells the waiting jobs what they wait for, but those whose role has locked them';

create function steep_repl._unfinished_jobs(out id bigint, out is_pending boolean) returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select w.id, w.status = 'pending' from steep_repl.work_queue w
  where w.status in ('pending', 'running') and steep_repl._is_here(w.system_identifier, w.database_oid);
end;
comment on function steep_repl._unfinished_jobs() is 'private: jobs that are not over';

create function steep_repl._lock_running_jobs(out id bigint, out operation text) returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select w.id, w.operation from steep_repl.work_queue w
  where w.status = 'running' and steep_repl._is_here(w.system_identifier, w.database_oid)
  for update skip locked;
end;
comment on function steep_repl._lock_running_jobs() is 'private: jobs that run, or did until a crash, but those whose role has locked them';

create function steep_repl._job_is_unfinished(id bigint) returns boolean
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select exists (select from steep_repl.work_queue w where w.id = $1 and w.status in ('pending', 'running'));
end;
comment on function steep_repl._job_is_unfinished(bigint) is 'private: whether a job is there and not over';

create function steep_repl._job_lost(id bigint, message text, state text, hint text) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update steep_repl.work_queue w
  set status = 'failed', status_detail = null, worker_pid = null, completed_at = clock_timestamp(),
      error_message = message, error_sqlstate = state, error_hint = hint
  where w.id = _job_lost.id and w.status in ('pending', 'running');
  if found then
    perform steep_repl._job_result(id, 'failed', message, state, hint);
    return true;
  end if;
  return false;
end
$fn$;
comment on function steep_repl._job_lost(bigint, text, text, text) is 'private: fails a job that cannot go on; false if it has ended by itself';

-- An apply, a merge or a fetch goes on where it stopped: what it did is marked. Not for ever, in case it is the job that brings the server
-- down: unless it got to another action than the last time that it was interrupted, or further with this one, it is not resumed.
-- How far a fetch has got, only its files say, and it runs nobody's code.
create function steep_repl._job_resumed(id bigint, max_attempts int) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update steep_repl.work_queue w
  set status = 'pending', worker_pid = null,
      status_detail = 'to be resumed: the server or the job''s worker ended before the job did'
  where w.id = _job_resumed.id and w.status = 'running' and w.attempts <= max_attempts
    and (w.operation = 'snapshot_apply'
         or w.operation in ('bidirectional_merge', 'merge_undo', 'snapshot_fetch', 'pair') and w.params -> 'is_conninfo' = 'false');
  if not found then
    return 'no';
  end if;
  update steep_repl._job_directories d set died_at = p.place, begun = 'start'
  from (select concat_ws(' ', x.begun,
                 (select count(*) from steep_repl._apply_done a where a.operation_id = x.operation_id),
                 (select m.rows_merged from steep_repl.merges m where m.operation_id = x.operation_id),
                 (select p.step from steep_repl.pairs p where p.operation_id = x.operation_id),
                 (select w.attempts from steep_repl.work_queue w where w.id = x.operation_id and w.operation = 'snapshot_fetch')) as place
        from steep_repl._job_directories x where x.operation_id = _job_resumed.id) p
  where d.operation_id = _job_resumed.id and d.died_at is distinct from p.place;
  if not found then
    return 'stuck';
  end if;
  perform steep_repl._job_set(id, $set$status = 'pending'$set$);
  return 'yes';
end
$fn$;
comment on function steep_repl._job_resumed(bigint, int) is 'private: queues a job that a crash has left, if it can go on: yes, no, or stuck, where it has got nowhere since the last time';

-- A fetch that is retried goes on from its files.
create function steep_repl._files_given_up(id bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl._job_directories d set to_remove = true
  where d.operation_id = $1
    and not exists (select from steep_repl.work_queue w where w.id = $1 and w.operation = 'snapshot_fetch' and w.status <> 'cancelled');
end;
comment on function steep_repl._files_given_up(bigint) is 'private: has the files of a job that was lost removed, unless it can go on from them';

create function steep_repl._remains(is_to_lock boolean) returns bigint
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  result bigint;
begin
  if is_to_lock then
    select d.operation_id into result from steep_repl._job_directories d
    where d.to_remove and steep_repl._is_here(d.system_identifier, d.database_oid)
    limit 1 for update skip locked;
  else
    select d.operation_id into result from steep_repl._job_directories d
    where d.to_remove and steep_repl._is_here(d.system_identifier, d.database_oid) limit 1;
  end if;
  return result;
end
$fn$;
comment on function steep_repl._remains(boolean) is 'private: a job whose files are to be removed, NULL for none';

-- Unless its files are no longer to be removed, or somebody who retries the job has the row. If some are still there, nobody
-- tries again by himself, and leftovers() goes on to show them.
create function steep_repl._remains_removed(id bigint, is_gone boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform from steep_repl._job_directories d where d.operation_id = id and d.to_remove for update skip locked;
  if not found then
    return;
  end if;
  if is_gone then
    delete from steep_repl._job_directories d where d.operation_id = id;
  else
    update steep_repl._job_directories d set to_remove = false where d.operation_id = id;
  end if;
end
$fn$;
comment on function steep_repl._remains_removed(bigint, boolean) is 'private: notes that the files of a job were removed, or could not be';
