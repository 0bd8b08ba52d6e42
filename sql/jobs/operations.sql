-- Functions that read work_queue or snapshots turn row security on. Where a
-- role has it off, as one for backups may, they would fail instead.

create function steep_repl.version() returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return '@VERSION@';

create function steep_repl.min_pg_version() returns int
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return 180000;

create function steep_repl.bgworker_available() returns boolean
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
return steep_repl._launcher_is_alive();

create function steep_repl.list_operations(status text default null) returns setof steep_repl.work_queue
language plpgsql volatile rows 100 parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  operation steep_repl.work_queue;
begin
  if list_operations.status is not null
     and list_operations.status not in ('pending', 'running', 'complete', 'failed', 'cancelled') then
    raise exception 'unknown status "%"', list_operations.status
      using errcode = 'invalid_parameter_value',
            hint = 'Use one of pending, running, complete, failed, cancelled.';
  end if;
  for operation in
    select w.* from steep_repl.work_queue w
    where (list_operations.status is null or w.status = list_operations.status)
      and steep_repl._is_here(w.system_identifier, w.database_oid)
    order by w.created_at desc, w.id limit 100
  loop
    if operation.status = 'pending' then
      operation.status_detail := coalesce(steep_repl._waiting_reason(operation.operation), operation.status_detail);
    end if;
    return next operation;
  end loop;
end
$fn$;

create function steep_repl.cancel_operation(id bigint) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if cancel_operation.id is null then
    raise exception 'id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  return steep_repl._cancel(cancel_operation.id);
end
$fn$;

create function steep_repl._operation(id bigint) returns steep_repl.work_queue
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_operation';
comment on function steep_repl._operation(bigint) is 'private: a job''s row, for whoever may see or control that job';

create function steep_repl.retry_operation(id bigint, peer text default null) returns steep_repl.work_queue
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  operation steep_repl.work_queue;
begin
  if retry_operation.id is null then
    raise exception 'id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  perform steep_repl._retry(retry_operation.id);
  operation := steep_repl._operation(retry_operation.id);
  if retry_operation.peer is not null and operation.operation not in ('overlap', 'bidirectional_merge', 'merge_undo', 'snapshot_fetch', 'pair') then
    raise exception 'this operation takes no peer' using errcode = 'invalid_parameter_value';
  end if;
  if retry_operation.peer is not null and not steep_repl._is_same_peer(retry_operation.peer, operation.params ->> 'peer') then
    raise exception 'the operation is about another peer' using errcode = 'invalid_parameter_value',
      detail = format('It was queued for %s.', operation.params ->> 'peer'),
      hint = 'Give the same connection string, or start a new operation.';
  end if;
  if retry_operation.peer is null and operation.params -> 'is_conninfo' = 'true' then
    raise exception 'peer must be given again' using errcode = 'object_not_in_prerequisite_state',
      detail = 'A connection string is kept in memory only, until the operation ends.',
      hint = format('select steep_repl.retry_operation(%s, peer => ''...'')', retry_operation.id);
  end if;
  if retry_operation.peer is not null and operation.requested_by = current_user then
    perform steep_repl._check_peer(retry_operation.peer);
  end if;
  if steep_repl._is_conninfo(retry_operation.peer) then
    perform steep_repl._keep_peer(retry_operation.id, retry_operation.peer);
  end if;
  return operation;
end
$fn$;

create function steep_repl._check_wait(id bigint, timeout_seconds int) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if id is null then
    raise exception 'id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  if timeout_seconds is null or timeout_seconds < 0 then
    raise exception 'timeout_seconds must not be null or negative' using errcode = 'invalid_parameter_value';
  end if;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'cannot wait for a job in a transaction that is not READ COMMITTED'
      using errcode = 'object_not_in_prerequisite_state',
            detail = 'Such a transaction keeps seeing the job as it was when it began.';
  end if;
  if steep_repl._was_queued_here(id) then
    raise exception 'commit first: this transaction queued the job'
      using errcode = 'object_not_in_prerequisite_state',
            detail = 'The job starts when the transaction commits.';
  end if;
end
$fn$;
comment on function steep_repl._check_wait(bigint, int) is 'private: refuses a wait that could never end';

create function steep_repl.wait_operation(id bigint, timeout_seconds int default 86400) returns steep_repl.work_queue
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  began constant timestamptz := clock_timestamp();
  deadline constant timestamptz := began + make_interval(secs => timeout_seconds);
  pause float8;
  result steep_repl.work_queue;
begin
  perform steep_repl._check_wait(wait_operation.id, timeout_seconds);
  loop
    result := steep_repl._operation(wait_operation.id);
    exit when result.status not in ('pending', 'running') or clock_timestamp() >= deadline;
    -- late by a twentieth of the time at most
    pause := least(greatest(extract(epoch from clock_timestamp() - began) / 20, 0.01), 0.25);
    perform pg_sleep(least(pause, extract(epoch from deadline - clock_timestamp())));
  end loop;
  return result;
end
$fn$;

create function steep_repl.prune_operations(older_than interval) returns bigint
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if older_than is null or older_than < interval '0' then
    raise exception 'older_than must not be null or negative' using errcode = 'invalid_parameter_value';
  end if;
  return steep_repl._prune(older_than);
end
$fn$;

create function steep_repl.leftovers(
  out kind text, out name text, out retained_bytes bigint, out drop_command text)
returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select l.kind, l.name, l.retained_bytes,
         pg_catalog.format('select steep_repl.drop_snapshot(%L)', l.snapshot_id)
  from steep_repl._leftovers() l;
end;
