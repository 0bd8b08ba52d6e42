-- Replication origins of rows that jobs write. Rows that one side gets from the other carry the origin of the subscription between
-- the two, where there is one: so PostgreSQL takes later changes of them for what they are, and reports no conflict.

create function steep_repl._use_origin(name text, pid int) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_use_origin';
comment on function steep_repl._use_origin(text, int) is 'private: gives this session a replication origin, together with the process that has it in use, or alone if pid is 0';

-- A subscription that is enabled but has no worker right now is about to start one, which must find its origin free. Only a superuser
-- may share the origin of one that is at work: see check_may_use in origin.c.
create function steep_repl._origin_is_usable(is_enabled boolean, pid int, is_superuser boolean) returns boolean
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return not is_enabled or pid is not null and is_superuser;
comment on function steep_repl._origin_is_usable(boolean, int, boolean) is 'private: whether rows may carry the origin of a subscription';

create function steep_repl._is_superuser() returns boolean
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return (select r.rolsuper from pg_roles r where r.rolname = current_user);
comment on function steep_repl._is_superuser() is 'private: whether the caller is a superuser';

-- Where that cannot be, this session is left without an origin. Not so where PostgreSQL has half set it up, since the apply worker has
-- just ended: that is an error, and the job may be retried.
create function steep_repl._try_origin(name text, pid int) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._use_origin(name, pid);
  return true;
exception when object_in_use or undefined_object or configuration_limit_exceeded or insufficient_privilege or read_only_sql_transaction then
  return false;
end
$fn$;
comment on function steep_repl._try_origin(text, int) is 'private: gives this session a replication origin, if that can be';

-- The subscription that brings changes of some tables here, if there is just one: that lists one of them, or else that lists no table at
-- all, as one that was made without a connection does.
create function steep_repl._subscription_of(tables text[], out origin text, out pid int)
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  with target(oid) as (
    select distinct coalesce(pg_partition_root(c.oid), c.oid) from unnest(tables) t(name) join pg_class c on c.oid = to_regclass(t.name)),
  candidate as (
    select s.oid, s.subenabled as is_enabled, w.pid,
           exists (select from pg_subscription_rel r join target t on t.oid in (r.srrelid, pg_partition_root(r.srrelid)) where r.srsubid = s.oid) as lists_one,
           exists (select from pg_subscription_rel r where r.srsubid = s.oid) as lists_any
    from pg_subscription s
    left join pg_stat_subscription w on w.subid = s.oid and w.worker_type = 'apply' and w.leader_pid is null
    where s.subdbid = (select d.oid from pg_database d where d.datname = current_database())),
  chosen as (
    select c.*, count(*) over () as n from candidate c
    where c.lists_one or not c.lists_any and not exists (select from candidate o where o.lists_one))
  select 'pg_' || c.oid, coalesce(c.pid, 0) from chosen c where c.n = 1 and steep_repl._origin_is_usable(c.is_enabled, c.pid, steep_repl._is_superuser())
$fn$;
comment on function steep_repl._subscription_of(text[]) is 'private: the origin of the subscription that brings changes of tables here, and the process that has it in use';

-- The coordinator of an apply has it first. Those who load share it with the process whose id this is, 0 if there is none.
create function steep_repl._apply_origin(tables text[]) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  found record;
begin
  select * into found from steep_repl._subscription_of(tables);
  return case when steep_repl._try_origin(found.origin, found.pid) then coalesce(nullif(found.pid, 0), pg_backend_pid()) else 0 end;
end
$fn$;
comment on function steep_repl._apply_origin(text[]) is 'private: gives this session the replication origin of rows of some tables, if there is one';

create function steep_repl._apply_origin_of(origin oid, pid int) returns boolean
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
return (select steep_repl._try_origin(o.roname, pid) from pg_replication_origin o where o.roident = origin);
comment on function steep_repl._apply_origin_of(oid, int) is 'private: gives this session the same';
