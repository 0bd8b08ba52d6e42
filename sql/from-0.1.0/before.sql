\echo Use "ALTER EXTENSION steep_repl UPDATE" to load this file. \quit

-- Else that of the predecessor's schema: what is there would be found before PostgreSQL's own where it fits better.
set local search_path = pg_catalog, pg_temp;

-- 0.1.0 was the name of a dozen states of the predecessor: what is there is found in the catalogs, as members of the extension.

do $do$
declare
  n_active int8 := 0;
begin
  if current_setting('server_version_num')::int4 < 180000 then
    raise exception 'steep_repl needs PostgreSQL 18 or newer'
      using errcode = 'feature_not_supported',
            detail = format('This server is PostgreSQL %s.', current_setting('server_version'));
  end if;
  if exists (select from pg_attribute a
             where a.attrelid = to_regclass('steep_repl.work_queue') and a.attname = 'status') then
    execute $sql$select count(*) from steep_repl.work_queue
                 where status::text <> all (string_to_array('complete,completed,failed,cancelled', ','))$sql$ into n_active;
  end if;
  if n_active > 0 then
    raise exception '% jobs of steep_repl 0.1.0 are not over', n_active using errcode = 'object_in_use',
      hint = 'Wait for them, or cancel them with steep_repl.cancel_work(), or UPDATE steep_repl.work_queue SET status = ''cancelled''; then ALTER EXTENSION steep_repl UPDATE again.';
  end if;
end
$do$;

-- Drops members of the extension, those first that no other one needs: all but its schema, and the tables that are kept. What needs one of
-- them, and is not the extension's, is named and stops the update, if it is said to.
create function pg_temp.steep_repl_drop_old(keeps text[], is_strict bool) returns void language plpgsql as $fn$
declare
  member record;
  is_dropped bool;
  why text;
  whys text[];
begin
  loop
    is_dropped := false;
    whys := '{}';
    for member in
      select i.type, i.identity
      from pg_depend d cross join lateral pg_identify_object(d.classid, d.objid, 0) i
      where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
        and d.refobjid = (select e.oid from pg_extension e where e.extname = 'steep_repl')
        and i.identity <> all (keeps) and strpos(i.identity, 'steep_repl_drop_old') = 0
      order by d.objid desc
    loop
      begin
        execute format('drop %s %s', case member.type when 'composite type' then 'type' else member.type end, member.identity);
        is_dropped := true;
      exception when dependent_objects_still_exist or undefined_object or undefined_table or undefined_function then
        get stacked diagnostics why = pg_exception_detail;
        whys := whys || why;
      end;
    end loop;
    exit when cardinality(whys) = 0 or not is_dropped and not is_strict;
    if not is_dropped then
      raise exception 'objects of steep_repl 0.1.0 cannot be dropped, since others depend on them' using errcode = 'dependent_objects_still_exist',
        detail = array_to_string(whys, E'\n'), hint = 'Drop or change what depends on them; then ALTER EXTENSION steep_repl UPDATE again.';
    end if;
  end loop;
end
$fn$;
select pg_temp.steep_repl_drop_old('{steep_repl,steep_repl.nodes,steep_repl.audit_log,steep_repl.merge_audit_log,steep_repl.init_slots}', false);

-- The nodes, and what was logged, stay in a schema that is not the extension's, whose tables have no type of it.
do $do$
declare
  kept text;
  changed record;
  is_made bool := false;
begin
  foreach kept in array string_to_array('nodes,audit_log,merge_audit_log', ',') loop
    continue when not exists (
      select from pg_depend d
      where d.classid = 'pg_class'::regclass and d.deptype = 'e'
        and d.objid = to_regclass('steep_repl.' || kept)
        and d.refobjid = (select e.oid from pg_extension e where e.extname = 'steep_repl'));
    if not is_made then
      if to_regnamespace('steep_repl_archive') is not null then
        raise exception 'schema steep_repl_archive is there already, to which tables of steep_repl 0.1.0 are to be moved'
          using errcode = 'duplicate_schema', hint = 'Rename that schema; then ALTER EXTENSION steep_repl UPDATE again.';
      end if;
      create schema steep_repl_archive;
      alter extension steep_repl drop schema steep_repl_archive;
      is_made := true;
    end if;
    for changed in
      select 'alter table steep_repl.%I drop constraint %I' as command, quote_ident(c.conname) as name, c.conname as raw, 1 as step
      from pg_constraint c
      where c.contype = 'f' and c.conrelid = to_regclass('steep_repl.' || kept)
      union all
      select 'drop trigger %2$I on steep_repl.%1$I', quote_ident(t.tgname), t.tgname, 2 from pg_trigger t
      where not t.tgisinternal and t.tgrelid = to_regclass('steep_repl.' || kept)
      union all
      select 'alter table steep_repl.%1$I alter column %2$I drop default', quote_ident(a.attname), a.attname, 3 from pg_attribute a
      where a.atthasdef and a.attgenerated = '' and a.attrelid = to_regclass('steep_repl.' || kept)
        and a.atttypid in (select d.objid from pg_depend d where d.classid = 'pg_type'::regclass and d.deptype = 'e')
      union all
      select 'alter table steep_repl.%1$I alter column %2$I type text using %2$I::text', quote_ident(a.attname), a.attname, 4
      from pg_attribute a
      where a.attnum > 0 and not a.attisdropped and a.attrelid = to_regclass('steep_repl.' || kept)
        and a.atttypid in (select d.objid from pg_depend d where d.classid = 'pg_type'::regclass and d.deptype = 'e')
      order by step, raw
    loop
      begin
        execute format(changed.command, kept, changed.raw);
      exception when feature_not_supported then
        raise exception 'column % of table steep_repl.% cannot be kept, since others depend on it', changed.raw, kept using
          errcode = 'dependent_objects_still_exist', detail = sqlerrm, hint = 'Drop views on that table; then ALTER EXTENSION steep_repl UPDATE again.';
      end;
    end loop;
    for changed in
      select c.relname as name
      from pg_depend owned
      join pg_class c on c.oid = owned.objid and c.relkind = 'S'
      join pg_depend d on d.objid = c.oid and d.deptype = 'e'
      where owned.deptype in ('a', 'i') and owned.refobjid = to_regclass('steep_repl.' || kept)
    loop
      execute format('alter extension steep_repl drop sequence steep_repl.%1$I', changed.name);
    end loop;
    execute format('alter extension steep_repl drop table steep_repl.%1$I', kept);
    execute format('alter table steep_repl.%1$I set schema steep_repl_archive', kept);
    execute format('comment on table steep_repl_archive.%1$I is %2$L', kept,
      'from steep_repl 0.1.0; steep_repl does not use it any more, and it may be dropped');
  end loop;
end
$do$;

-- Slots of unfinished initializations hold WAL as long as they are there.
do $do$
declare
  names text;
begin
  if to_regclass('steep_repl.init_slots') is not null then
    execute $sql$select string_agg(quote_ident(s.slot_name), ', ') from pg_replication_slots s
                 where s.slot_name::text in (select i.slot_name::text from steep_repl.init_slots i)$sql$ into names;
  end if;
  if names is not null then
    raise warning 'replication slots that steep_repl 0.1.0 made for initializations are still there, and hold WAL: %', names
      using hint = 'Drop those that nobody needs: SELECT pg_drop_replication_slot(slot_name).';
  end if;
end
$do$;

select pg_temp.steep_repl_drop_old('{steep_repl}', true);
drop function pg_temp.steep_repl_drop_old(text[], bool);

do $do$
begin
  if to_regnamespace('steep_repl') is null then
    create schema steep_repl;
  end if;
end
$do$;
comment on schema steep_repl is 'steep_repl: snapshots, comparison and merge for bidirectional logical replication';
