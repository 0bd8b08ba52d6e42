-- What roles may do to our tables, whatever was granted to them. These
-- triggers fire always: session_replication_role can be granted to a role.

create function steep_repl._guard_work_queue() returns trigger
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_owner constant boolean := current_user = (
    select pg_get_userbyid(c.relowner) from pg_class c where c.oid = tg_relid);
  object_id text;
begin
  if steep_repl._is_replicated_change(tg_relid) then
    -- Rows of another node stay as they are; nobody sends us rows of our own.
    if tg_op = 'DELETE' then
      return case when old.system_identifier <> steep_repl._system_identifier() then old end;
    end if;
    return case when new.system_identifier <> steep_repl._system_identifier() then new end;
  end if;

  if tg_op = 'INSERT' then
    new.id := steep_repl._random_id();
    new.status := 'pending';
    new.status_detail := null;
    object_id := to_char(clock_timestamp() at time zone 'UTC', '_YYYYMMDD_HH24MISS_')
                 || left(replace(gen_random_uuid()::text, '-', ''), 8);
    new.snapshot_id := case new.operation when 'snapshot_generate' then 'snap' when 'snapshot_apply' then 'apply' when 'snapshot_fetch' then 'fetch' end || object_id;
    new.overlap_id := case new.operation when 'overlap' then 'overlap' end || object_id;
    new.merge_id := case when new.operation in ('bidirectional_merge', 'merge_undo') then 'merge' end || object_id;
    new.pair_id := case new.operation when 'pair' then 'pair' end || object_id;
    new.requested_by_oid := coalesce(steep_repl._queued_for(), quote_ident(current_user)::regrole);
    new.requested_by := pg_get_userbyid(new.requested_by_oid);
    new.worker_pid := null;
    new.attempts := 0;
    new.created_at := clock_timestamp();
    new.started_at := null;
    new.completed_at := null;
    new.error_message := null;
    new.error_sqlstate := null;
    new.error_hint := null;
    new.system_identifier := steep_repl._system_identifier();
    new.database_oid := (select d.oid from pg_database d where d.datname = current_database());
    return new;
  end if;

  if is_owner then
    return case when tg_op = 'DELETE' then old else new end;
  end if;

  if tg_op = 'UPDATE' and old.status = 'pending' and new.status = 'cancelled'
     and to_jsonb(new) - 'status' = to_jsonb(old) - 'status' then
    new.completed_at := clock_timestamp();
    return new;
  end if;
  raise exception 'permission denied to % rows of steep_repl.work_queue', lower(tg_op)
    using errcode = 'insufficient_privilege',
          detail = 'A role may add jobs and cancel its own pending ones; the rest is written by the workers.',
          hint = 'Use steep_repl.cancel_operation(id), retry_operation(id) or prune_operations(older_than).';
end
$fn$;
comment on function steep_repl._guard_work_queue() is 'private: keeps what a role writes to work_queue to adding and cancelling jobs of its own';

-- Of a statement, not of its rows: row security shows none to be written.
create function steep_repl._guard_workers_only() returns trigger
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if current_user = (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = tg_relid) then
    return null;
  end if;
  raise exception 'permission denied to % rows of steep_repl.%', lower(tg_op), tg_table_name
    using errcode = 'insufficient_privilege',
          detail = 'This table is written by the workers only.';
end
$fn$;
comment on function steep_repl._guard_workers_only() is 'private: lets nobody but the owner write';

create function steep_repl._guard_nodes() returns trigger
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if steep_repl._is_replicated_change(tg_relid) then
    return case when tg_op = 'DELETE' then old else new end;
  end if;
  if tg_op = 'INSERT' then
    new.registered_by := current_user;
    new.registered_by_oid := quote_ident(current_user)::regrole;
    return new;
  end if;

  -- Who redirects a node redirects what others do with it. By oid: a role
  -- that was made later under the same name is somebody else.
  if pg_has_role(old.registered_by_oid, 'MEMBER') then
    if tg_op = 'DELETE' then
      return old;
    end if;
    new.registered_by := old.registered_by;
    new.registered_by_oid := old.registered_by_oid;
    return new;
  end if;
  if tg_op = 'UPDATE' and to_jsonb(new) - 'last_seen' = to_jsonb(old) - 'last_seen' then
    new.last_seen := clock_timestamp();
    return new;
  end if;
  raise exception 'permission denied for node "%"', old.node_id
    using errcode = 'insufficient_privilege',
          detail = format('It was registered by role "%s".', old.registered_by),
          hint = 'Only that role, its members and superusers may change it.';
end
$fn$;
comment on function steep_repl._guard_nodes() is 'private: keeps a node to the role that registered it';

create function steep_repl._guard_schema_fingerprints() returns trigger
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if steep_repl._is_replicated_change(tg_relid) then
    -- What another node captured is its business; nobody sends us captures of our own.
    if tg_op = 'DELETE' then
      return case when old.system_identifier <> steep_repl._system_identifier() then old end;
    end if;
    return case when new.system_identifier <> steep_repl._system_identifier() then new end;
  end if;

  if tg_op = 'INSERT' then
    new.id := steep_repl._random_id();
    new.captured_at := statement_timestamp();
    new.captured_by := current_user;
    new.captured_by_oid := quote_ident(current_user)::regrole;
    new.system_identifier := steep_repl._system_identifier();
    new.database_oid := (select d.oid from pg_database d where d.datname = current_database());
    return new;
  end if;

  -- By oid: a role that was made later under the same name is somebody else.
  if tg_op = 'DELETE' and pg_has_role(old.captured_by_oid, 'MEMBER')
     or current_user = (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = tg_relid) then
    return case when tg_op = 'DELETE' then old else new end;
  end if;
  raise exception 'permission denied to % rows of steep_repl.schema_fingerprints', lower(tg_op)
    using errcode = 'insufficient_privilege',
          detail = 'Captures are history: a role may add them and delete its own.';
end
$fn$;
comment on function steep_repl._guard_schema_fingerprints() is 'private: keeps a capture as it was made, and says who made it';
