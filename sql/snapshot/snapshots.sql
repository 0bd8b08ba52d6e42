create function steep_repl._snapshot(snapshot_id text) returns steep_repl.snapshots
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  result steep_repl.snapshots;
begin
  if _snapshot.snapshot_id is null then
    raise exception 'snapshot_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  select s.* into result from steep_repl.snapshots s
  where s.snapshot_id = _snapshot.snapshot_id
    and steep_repl._is_here(s.system_identifier, s.database_oid);
  if not found then
    raise exception 'snapshot "%" does not exist', snapshot_id
      using errcode = 'undefined_object', hint = 'See steep_repl.snapshots.';
  end if;
  return result;
end
$fn$;
comment on function steep_repl._snapshot(text) is 'private: the row of a snapshot that the caller may see';

create function steep_repl._snapshot_progress(
  only_id text,
  out snapshot_id text, out phase text, out overall_percent numeric, out tables_completed int,
  out tables_total int, out current_table text, out bytes_processed bigint, out eta_seconds bigint,
  out error text)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
#variable_conflict use_column
declare
  wanted text := only_id;
begin
  if wanted is not null then
    perform steep_repl._snapshot(wanted);
  elsif not exists (select from steep_repl.snapshots s where s.status in ('pending', 'running')
                    and steep_repl._is_here(s.system_identifier, s.database_oid)) then
    select s.snapshot_id into wanted from steep_repl.snapshots s
    where steep_repl._is_here(s.system_identifier, s.database_oid)
    order by s.created_at desc limit 1;
  end if;
  return query
    select s.snapshot_id,
           coalesce(nullif(j.phase, ''), s.phase),
           coalesce(round(j.overall_percent::numeric, 2), s.overall_percent),
           coalesce(j.tables_completed, s.tables_completed),
           coalesce(nullif(j.tables_total, 0), s.table_count),
           case when j.id is not null then j.current_table else s.current_table end,
           coalesce(j.bytes_processed, s.bytes_processed),
           coalesce(j.eta_seconds, s.eta_seconds),
           s.error_message
    from steep_repl.snapshots s
    left join steep_repl._live_jobs() j on j.id = s.operation_id and s.status = 'running'
    where steep_repl._is_here(s.system_identifier, s.database_oid)
      and case when wanted is null then s.status in ('pending', 'running') else s.snapshot_id = wanted end
    order by s.created_at;
end
$fn$;
comment on function steep_repl._snapshot_progress(text) is 'private: snapshot_progress';

create function steep_repl.snapshot_progress(
  snapshot_id text default null,
  out snapshot_id text, out phase text, out overall_percent numeric, out tables_completed int,
  out tables_total int, out current_table text, out bytes_processed bigint, out eta_seconds bigint,
  out error text)
returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as 'select p.* from steep_repl._snapshot_progress($1) p';

create function steep_repl.wait_snapshot(snapshot_id text, timeout_seconds int default 86400) returns steep_repl.snapshots
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  snapshot constant steep_repl.snapshots := steep_repl._snapshot(wait_snapshot.snapshot_id);
begin
  perform steep_repl._check_wait(snapshot.operation_id, timeout_seconds);
  -- The job of a snapshot that is over may have been forgotten.
  if snapshot.status in ('pending', 'running') then
    perform steep_repl.wait_operation(snapshot.operation_id, timeout_seconds);
  end if;
  return steep_repl._snapshot(wait_snapshot.snapshot_id);
end
$fn$;

create function steep_repl.cancel_snapshot(snapshot_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  snapshot constant steep_repl.snapshots := steep_repl._snapshot(cancel_snapshot.snapshot_id);
begin
  if snapshot.status not in ('pending', 'running') then
    return false;
  end if;
  return steep_repl._cancel(snapshot.operation_id);
end
$fn$;

create function steep_repl.drop_snapshot(snapshot_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if drop_snapshot.snapshot_id is null then
    raise exception 'snapshot_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  return steep_repl._drop_snapshot(drop_snapshot.snapshot_id);
end
$fn$;

create function steep_repl.verify_snapshot(path text,
  out file text, out problem text, out expected text, out found text)
returns setof record
language c volatile parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_verify_snapshot';
