-- What is written down of a job. C calls these as the extension's owner, for whom alone row security and guards leave
-- anything to write. Who locks rows of its own must not hold up others: what only informs is then left out.

-- A pair is given a directory for what it makes, and writes none itself.
create function steep_repl._job_path(job steep_repl.work_queue) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case when job.pair_id is null then coalesce(rtrim(job.params ->> 'output_path', '/'), '') else '' end;
comment on function steep_repl._job_path(steep_repl.work_queue) is 'private: the directory that a job writes, empty if none';

-- A job was queued: the row that shows its result, and its directory.
create function steep_repl._job_queued(id bigint, token text) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl.snapshots (snapshot_id, operation_id, operation, node_id, storage_path, compression, parallel,
                                    slot_name, requested_by, requested_by_oid, system_identifier, database_oid, peer)
  select w.snapshot_id, w.id, case w.operation when 'snapshot_apply' then 'apply' when 'snapshot_fetch' then 'fetch' else 'generate' end, w.params ->> 'node_id',
         coalesce(w.params ->> 'output_path', w.params ->> 'input_path'), w.params ->> 'compression',
         case when w.params ->> 'parallel' ~ '^[0-9]{1,4}$' then (w.params ->> 'parallel')::int end, w.params ->> 'slot_name',
         w.requested_by, w.requested_by_oid, w.system_identifier, w.database_oid, w.params ->> 'peer'
  from steep_repl.work_queue w where w.id = $1 and w.snapshot_id is not null;
  insert into steep_repl.overlaps (overlap_id, operation_id, peer, requested_by, requested_by_oid, system_identifier, database_oid)
  select w.overlap_id, w.id, w.params ->> 'peer', w.requested_by, w.requested_by_oid, w.system_identifier, w.database_oid
  from steep_repl.work_queue w where w.id = $1 and w.overlap_id is not null;
  insert into steep_repl.merges (merge_id, operation_id, peer, strategy, dry_run, undoes, requested_by, requested_by_oid,
                                 system_identifier, database_oid)
  select w.merge_id, w.id, w.params ->> 'peer', w.params ->> 'strategy', coalesce(w.params -> 'dry_run' = 'true', false),
         case w.operation when 'merge_undo' then w.params ->> 'undoes' end, w.requested_by, w.requested_by_oid,
         w.system_identifier, w.database_oid
  from steep_repl.work_queue w where w.id = $1 and w.merge_id is not null;
  insert into steep_repl.pairs (pair_id, operation_id, peer, existing, strategy, sequences, requested_by, requested_by_oid,
                                system_identifier, database_oid)
  select w.pair_id, w.id, w.params ->> 'peer', w.params ->> 'existing', w.params ->> 'strategy', w.params ->> 'sequences', w.requested_by,
         w.requested_by_oid, w.system_identifier, w.database_oid
  from steep_repl.work_queue w where w.id = $1 and w.pair_id is not null;
  insert into steep_repl._job_directories (operation_id, path, token, system_identifier, database_oid)
  select w.id, steep_repl._job_path(w), $2, w.system_identifier, w.database_oid
  from steep_repl.work_queue w where w.id = $1;
end;
comment on function steep_repl._job_queued(bigint, text) is 'private: makes the rows that belong to a new job';

-- Whichever of these tables has the row of the job's result.
create function steep_repl._job_set(id bigint, assignments text, variadic texts text[] default '{}') returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  target text;
begin
  foreach target in array array['snapshots', 'overlaps', 'merges', 'pairs'] loop
    execute format('update steep_repl.%I set %s where operation_id = $1', target, assignments) using id, texts;
  end loop;
end
$fn$;
comment on function steep_repl._job_set(bigint, text, text[]) is 'private: updates the row of a job''s result, by fixed text; $2 has the values';

create function steep_repl._job_started(id bigint, out object_id text, out token text, out path text, out operation text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select coalesce(w.snapshot_id, w.merge_id, w.overlap_id, w.pair_id, ''), d.token, d.path, w.operation
  into strict object_id, token, path, operation
  from steep_repl.work_queue w join steep_repl._job_directories d on d.operation_id = w.id where w.id = _job_started.id;
  update steep_repl.work_queue w
  set status = 'running', status_detail = null, started_at = clock_timestamp(), attempts = w.attempts + 1 where w.id = _job_started.id;
  perform steep_repl._job_set(id, $set$status = 'running', started_at = clock_timestamp()$set$);
end
$fn$;
comment on function steep_repl._job_started(bigint) is 'private: a job was claimed; what its coordinator needs to know';

create function steep_repl._job_begun(id bigint, pid int, out operation text, out params text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select w.operation, w.params::text into operation, params from steep_repl.work_queue w where w.id = _job_begun.id;
  update steep_repl.work_queue w set worker_pid = pid
  where w.id = (select x.id from steep_repl.work_queue x where x.id = _job_begun.id for update skip locked);
end
$fn$;
comment on function steep_repl._job_begun(bigint, int) is 'private: notes which process is a job''s coordinator; what the job is to do, NULL if its row is gone';

create function steep_repl._job_waits(id bigint, detail text) returns void
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.work_queue w set status_detail = detail
  where w.status_detail is distinct from detail
    and w.id = (select x.id from steep_repl.work_queue x where x.id = _job_waits.id for update skip locked);
end;
comment on function steep_repl._job_waits(bigint, text) is 'private: notes what a running job waits for, NULL for nothing';

create function steep_repl._job_progress(
  id bigint, target text, phase text, percent float8, current_table text, tables_done int, tables_total int,
  bytes bigint, eta_seconds bigint, bytes_per_second bigint, row_count bigint) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  execute format($sql$
    update steep_repl.%1$I set phase = $2, overall_percent = round($3::numeric, 2), current_table = $4, tables_completed = $5, table_count = $6 %2$s
    where operation_id = (select s.operation_id from steep_repl.%1$I s where s.operation_id = $1 for update skip locked)$sql$,
    target, case target when 'snapshots' then ', bytes_processed = $7, eta_seconds = $8, throughput_bytes_sec = $9, rows_written = $10' end)
  using id, phase, percent, current_table, tables_done, tables_total, bytes, eta_seconds, bytes_per_second, row_count;
end
$fn$;
comment on function steep_repl._job_progress(bigint, text, text, float8, text, int, int, bigint, bigint, bigint, bigint) is 'private: brings the row of a running job up to date';

create function steep_repl._job_warns(id bigint, target text, messages jsonb) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  result text;
begin
  execute format($sql$
    update steep_repl.%I t
    set warnings = t.warnings || array(select m.text from jsonb_array_elements_text($2) m(text) where m.text = any (t.warnings) is not true)
    where t.operation_id = $1 returning array_to_string(array(select jsonb_array_elements_text($2)), e'\n')$sql$, target) into result using id, messages;
  return result;
end
$fn$;
comment on function steep_repl._job_warns(bigint, text, jsonb) is 'private: notes what a job goes on without; the same in lines, NULL if its row is gone';

-- The slot is noted where no user can write, before it becomes persistent.
create function steep_repl._snapshot_result(
  id bigint, size_bytes bigint, row_count bigint, bytes bigint, checksum text, lsn pg_lsn, slot_name text) returns void
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.snapshots s set size_bytes = $2, rows_written = $3, bytes_processed = $4, checksum = $5, lsn = $6 where s.operation_id = $1;
  update steep_repl._job_directories d set slot_name = $7, slot_lsn = $6 where d.operation_id = $1 and $7 is not null;
end;
comment on function steep_repl._snapshot_result(bigint, bigint, bigint, bigint, text, pg_lsn, text) is 'private: notes what a snapshot that is about to be complete is';

create function steep_repl._job_source(
  id bigint, snapshot_id text, compression text, checksum text, size_bytes bigint, lsn text, slot_name text, path text) returns void
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.snapshots s
  set source_snapshot_id = $2, compression = $3, checksum = $4, size_bytes = $5, lsn = nullif($6, '')::pg_lsn, slot_name = $7, storage_path = $8
  where s.operation_id = $1;
end;
comment on function steep_repl._job_source(bigint, text, text, text, bigint, text, text, text) is 'private: notes which snapshot an apply loads, or a fetch copies';

-- Transactions that were running when a slot was asked for delay it until they end: the oldest, unless it is young.
create function steep_repl._slot_blocker() returns text
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select format('waiting for a transaction to end before the slot can begin: %s', b.what)
  from (select format('prepared transaction "%s" of role "%s"', p.gid, p.owner) as what, p.prepared as since from pg_prepared_xacts p
        union all
        select format('process %s of role "%s"', a.pid, a.usename), a.xact_start
        from pg_stat_activity a where a.backend_xid is not null and a.pid <> pg_backend_pid()) b
  where b.since < now() - interval '1 s' order by b.since limit 1;
end;
comment on function steep_repl._slot_blocker() is 'private: which transaction a slot that is being made waits for; NULL for none';

create function steep_repl._job_result(id bigint, status text, message text, state text, hint text) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._job_set(id, $set$
    status = $2[1], completed_at = clock_timestamp(), current_table = null,
    phase = case when $2[1] = 'complete' then 'complete' else phase end,
    overall_percent = case when $2[1] = 'complete' then 100 else overall_percent end,
    error_message = $2[2], error_sqlstate = $2[3], error_hint = $2[4]$set$, status, message, state, hint);
  update steep_repl.snapshots s set eta_seconds = null where s.operation_id = id and s.eta_seconds is not null;
end
$fn$;
comment on function steep_repl._job_result(bigint, text, text, text, text) is 'private: notes in the row of its result how a job ended';

-- keeps_remains: its directory is still to be removed.
create function steep_repl._job_ended(
  id bigint, status text, message text, state text, hint text, keeps_remains boolean) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update steep_repl.work_queue w
  set status = _job_ended.status, status_detail = null, worker_pid = null, completed_at = clock_timestamp(),
      error_message = message, error_sqlstate = state, error_hint = hint
  where w.id = _job_ended.id;
  perform steep_repl._job_result(id, status, message, state, hint);
  -- no statement where there is nothing to delete: it would wait for whoever has the table locked
  if not keeps_remains then
    delete from steep_repl._job_directories d where d.operation_id = id;
  end if;
  if status = 'complete' then
    delete from steep_repl._apply_done a where a.operation_id = id;
  end if;
end
$fn$;
comment on function steep_repl._job_ended(bigint, text, text, text, text, boolean) is 'private: notes how a job ended';

create function steep_repl._job_dequeued(id bigint) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._job_result(id, 'cancelled', null, null, null);
  -- one that has been at work before may have files
  update steep_repl._job_directories d set to_remove = true
  where d.operation_id = _job_dequeued.id and d.path <> ''
    and exists (select from steep_repl.work_queue w where w.id = _job_dequeued.id and w.attempts > 0);
  if not found then
    delete from steep_repl._job_directories d where d.operation_id = id;
  end if;
end
$fn$;
comment on function steep_repl._job_dequeued(bigint) is 'private: a job was cancelled before it began';

create function steep_repl._job_cancelled(id bigint) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update steep_repl.work_queue w set status = 'cancelled', status_detail = null, completed_at = clock_timestamp()
  where w.id = _job_cancelled.id and w.status = 'pending';
  return found;
end
$fn$;
comment on function steep_repl._job_cancelled(bigint) is 'private: cancels a job that has not begun; false if it has';

-- The job begins anew; what a merge has written stays counted.
create function steep_repl._job_requeued(id bigint) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update steep_repl.work_queue w
  set status = 'pending', status_detail = null, worker_pid = null, started_at = null, completed_at = null,
      error_message = null, error_sqlstate = null, error_hint = null
  where w.id = _job_requeued.id and w.status in ('failed', 'cancelled');
  if not found then
    return false;
  end if;
  perform steep_repl._job_set(id, $set$
    status = 'pending', phase = 'queued', overall_percent = 0, current_table = null, table_count = null, tables_completed = 0,
    error_message = null, error_sqlstate = null, error_hint = null, started_at = null, completed_at = null$set$);
  update steep_repl.snapshots s
  set lsn = null, size_bytes = null, bytes_processed = 0, rows_written = null, checksum = null, warnings = null,
      throughput_bytes_sec = null, eta_seconds = null
  where s.operation_id = id;
  -- what was made was removed
  update steep_repl.pairs p set local_node = null, step = null, snapshot_id = null, fetch_id = null, merge_id = null, overlap_id = null
  where p.operation_id = id and p.is_removed;
  update steep_repl.pairs p set warnings = null, is_removed = false where p.operation_id = id;
  -- each attempt says what it goes on without
  update steep_repl.merges m set warnings = null where m.operation_id = id;
  update steep_repl.overlaps o
  set local_only_count = null, remote_only_count = null, match_count = null, conflict_count = null, unsettled_count = null
  where o.operation_id = id;
  insert into steep_repl._job_directories (operation_id, path, token, system_identifier, database_oid)
  select w.id, steep_repl._job_path(w), replace(gen_random_uuid()::text, '-', ''),
         w.system_identifier, w.database_oid
  from steep_repl.work_queue w where w.id = _job_requeued.id
  on conflict (operation_id) do update set begun = 'start', died_at = null, to_remove = false;
  return true;
end
$fn$;
comment on function steep_repl._job_requeued(bigint) is 'private: queues a job that failed or was cancelled again; false if it was not';

create function steep_repl._job_here(id bigint, out status text, out requested_by_oid oid) returns setof record
language sql volatile strict rows 1 parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select w.status, w.requested_by_oid from steep_repl.work_queue w
  where w.id = $1 and steep_repl._is_here(w.system_identifier, w.database_oid);
end;
comment on function steep_repl._job_here(bigint) is 'private: the state of a job of this database, and whose it is';
