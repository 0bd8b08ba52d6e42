-- Jobs that are over: what of them is forgotten, and what they have left. C calls these as the extension's owner, and gives
-- the oid of the role that asks.

create function steep_repl._prune_jobs(caller oid, older_than interval) returns bigint
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  before constant timestamptz := now() - older_than;
  result bigint;
begin
  delete from steep_repl.work_queue w
  where w.status in ('complete', 'failed', 'cancelled') and w.completed_at < before and pg_has_role(caller, w.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(w.system_identifier, w.database_oid);
  get diagnostics result = row_count;
  -- those that are complete stay, and others while something of them is left: they tell what the directories are
  delete from steep_repl.snapshots s
  where s.status in ('failed', 'cancelled') and s.completed_at < before and pg_has_role(caller, s.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(s.system_identifier, s.database_oid)
    and not exists (select from steep_repl.work_queue w where w.id = s.operation_id)
    and not exists (select from steep_repl._job_directories d where d.operation_id = s.operation_id);
  delete from steep_repl.overlaps o
  where o.status in ('complete', 'failed', 'cancelled') and o.completed_at < before and pg_has_role(caller, o.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(o.system_identifier, o.database_oid)
    and not exists (select from steep_repl.work_queue w where w.id = o.operation_id);
  delete from steep_repl.overlap_rows r where not exists (select from steep_repl.overlaps o where o.overlap_id = r.overlap_id);
  -- what a merge has written can be undone as long as its row is there
  delete from steep_repl.merges m
  where m.status in ('complete', 'failed', 'cancelled') and m.completed_at < before and pg_has_role(caller, m.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(m.system_identifier, m.database_oid)
    and not exists (select from steep_repl.work_queue w where w.id = m.operation_id)
    and not exists (select from steep_repl.merge_audit_log a where a.merge_id = m.merge_id)
    and not exists (select from steep_repl.merge_conflicts c where c.merge_id = m.merge_id and c.status = 'open');
  delete from steep_repl.pairs p
  where p.status in ('failed', 'cancelled') and p.completed_at < before and pg_has_role(caller, p.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(p.system_identifier, p.database_oid)
    and not exists (select from steep_repl.work_queue w where w.id = p.operation_id);
  perform steep_repl._forget_marks();
  return result;
end
$fn$;
comment on function steep_repl._prune_jobs(oid, interval) is 'private: forgets jobs that ended longer ago; how many';

create function steep_repl._forget_marks() returns void
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl._apply_done a where not exists (select from steep_repl.work_queue w where w.id = a.operation_id);
end;
comment on function steep_repl._forget_marks() is 'private: forgets what applies have done that cannot be retried any more';

-- In the order in which retrying the job takes them. With its private row locked no remover begins with its files.
create function steep_repl._lock_snapshot(snapshot_id text, out operation_id bigint, out requested_by_oid oid, out status text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select s.operation_id into operation_id from steep_repl.snapshots s
  where s.snapshot_id = _lock_snapshot.snapshot_id and steep_repl._is_here(s.system_identifier, s.database_oid);
  perform from steep_repl.work_queue w where w.id = _lock_snapshot.operation_id for update;
  select s.requested_by_oid, s.status into requested_by_oid, status
  from steep_repl.snapshots s where s.operation_id = _lock_snapshot.operation_id for update;
  perform from steep_repl._job_directories d where d.operation_id = _lock_snapshot.operation_id for update;
end
$fn$;
comment on function steep_repl._lock_snapshot(text) is 'private: locks the rows of a snapshot that is to be dropped; NULLs if there is none';

create function steep_repl._snapshot_dropped(operation_id bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl.snapshots s where s.operation_id = $1;
  delete from steep_repl.work_queue w where w.id = $1;
  select steep_repl._forget_marks();
end;
comment on function steep_repl._snapshot_dropped(bigint) is 'private: forgets a snapshot whose files and slot are gone';

create function steep_repl._jobs_with_remains(caller oid, out operation_id bigint, out snapshot_id text, out is_complete boolean)
returns setof record
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select s.operation_id, s.snapshot_id, s.status = 'complete'
  from steep_repl._job_directories d join steep_repl.snapshots s on s.operation_id = d.operation_id
  where s.status in ('complete', 'failed', 'cancelled') and pg_has_role($1, s.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(d.system_identifier, d.database_oid)
  order by s.created_at;
end;
comment on function steep_repl._jobs_with_remains(oid) is 'private: jobs that are over and may have left a directory or a slot';

create function steep_repl._count_jobs(caller oid, out running bigint, out pending bigint, out last_error text)
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select count(*) filter (where w.status = 'running'), count(*) filter (where w.status = 'pending'),
         (select e.error_message from steep_repl.work_queue e
          where e.status = 'failed' and steep_repl._is_here(e.system_identifier, e.database_oid)
            and (pg_has_role($1, e.requested_by_oid, 'MEMBER') or pg_has_role($1, 'pg_monitor', 'MEMBER'))
          order by e.created_at desc limit 1)
  from steep_repl.work_queue w
  where w.status in ('running', 'pending') and steep_repl._is_here(w.system_identifier, w.database_oid);
end;
comment on function steep_repl._count_jobs(oid) is 'private: how many jobs there are, and the last error of one that the caller may see';
