\echo Use "CREATE EXTENSION steep_repl CASCADE" to load this file. \quit

-- Nothing of ours may land among objects that somebody else made: a schema
-- prepared by another role could shadow what the functions below call.
do $do$
begin
  if pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog.<) 180000 then
    raise exception 'steep_repl needs PostgreSQL 18 or newer'
      using errcode = 'feature_not_supported',
            detail = pg_catalog.format('This server is PostgreSQL %s.', pg_catalog.current_setting('server_version'));
  end if;
  if exists (
    select from pg_catalog.pg_namespace n
    where n.nspname operator(pg_catalog.=) 'steep_repl'
      and (n.nspowner operator(pg_catalog.<>) (select r.oid from pg_catalog.pg_roles r where r.rolname operator(pg_catalog.=) current_user)
           or exists (select from pg_catalog.pg_class c where c.relnamespace operator(pg_catalog.=) n.oid)
           or exists (select from pg_catalog.pg_proc p where p.pronamespace operator(pg_catalog.=) n.oid)
           or exists (select from pg_catalog.pg_type t where t.typnamespace operator(pg_catalog.=) n.oid)
           or exists (select from pg_catalog.pg_operator o where o.oprnamespace operator(pg_catalog.=) n.oid))
  ) then
    raise exception 'schema "steep_repl" already exists and is not empty, or belongs to another role'
      using errcode = 'duplicate_schema',
            hint = 'Drop or rename that schema, then run CREATE EXTENSION again.';
  end if;
end
$do$;

comment on schema steep_repl is 'steep_repl: snapshots, comparison and merge for bidirectional logical replication';
