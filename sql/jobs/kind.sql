-- How jobs of one kind are followed: made for each kind of plv8/build/job-kinds.ts.

create function steep_repl._@KIND@(@KIND@_id text) returns steep_repl.@TABLE@
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  result steep_repl.@TABLE@;
begin
  if _@KIND@.@KIND@_id is null then
    raise exception '@KIND@_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  select j.* into result from steep_repl.@TABLE@ j
  where j.@KIND@_id = _@KIND@.@KIND@_id and steep_repl._is_here(j.system_identifier, j.database_oid);
  if not found then
    raise exception '@KIND@ "%" does not exist', @KIND@_id
      using errcode = 'undefined_object', hint = 'See steep_repl.@TABLE@.';
  end if;
  return result;
end
$fn$;
comment on function steep_repl._@KIND@(text) is 'private: the row of a @KIND@ that the caller may see';

create function steep_repl._@KIND@_progress(only_id text, @PROGRESS_OUT@) returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
#variable_conflict use_column
declare
  wanted text := only_id;
begin
  if wanted is not null then
    perform steep_repl._@KIND@(wanted);
  elsif not exists (select from steep_repl.@TABLE@ r where r.status in ('pending', 'running')
                    and steep_repl._is_here(r.system_identifier, r.database_oid)) then
    select r.@KIND@_id into wanted from steep_repl.@TABLE@ r
    where steep_repl._is_here(r.system_identifier, r.database_oid) order by r.created_at desc limit 1;
  end if;
  return query
    select @PROGRESS_VALUES@
    from steep_repl.@TABLE@ r
    left join steep_repl._live_jobs() j on j.id = r.operation_id and r.status = 'running'
    where steep_repl._is_here(r.system_identifier, r.database_oid)
      and case when wanted is null then r.status in ('pending', 'running') else r.@KIND@_id = wanted end
    order by r.created_at;
end
$fn$;
comment on function steep_repl._@KIND@_progress(text) is 'private: @KIND@_progress';

create function steep_repl.@KIND@_progress(@KIND@_id text default null, @PROGRESS_OUT@) returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as 'select p.* from steep_repl._@KIND@_progress($1) p';

create function steep_repl.wait_@KIND@(@KIND@_id text, timeout_seconds int default 86400) returns steep_repl.@TABLE@
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  job constant steep_repl.@TABLE@ := steep_repl._@KIND@(wait_@KIND@.@KIND@_id);
begin
  perform steep_repl._check_wait(job.operation_id, timeout_seconds);
  -- The job of one that is over may have been forgotten.
  if job.status in ('pending', 'running') then
    perform steep_repl.wait_operation(job.operation_id, timeout_seconds);
  end if;
  return steep_repl._@KIND@(wait_@KIND@.@KIND@_id);
end
$fn$;

create function steep_repl.cancel_@KIND@(@KIND@_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  job constant steep_repl.@TABLE@ := steep_repl._@KIND@(cancel_@KIND@.@KIND@_id);
begin
  if job.status not in ('pending', 'running') then
    return false;
  end if;
  return steep_repl._cancel(job.operation_id);
end
$fn$;
