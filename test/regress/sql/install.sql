-- What CREATE EXTENSION makes, and that DROP EXTENSION leaves nothing of it.
-- No output may depend on the JavaScript engine, on the preload or on names of
-- this installation.
set client_min_messages = warning;
create extension steep_repl cascade;

-- The version is written in the control file only.
select steep_repl.version() = default_version as from_the_control_file
from pg_available_extensions where name = 'steep_repl';
select steep_repl.min_pg_version();
select current_setting('server_version_num')::int >= steep_repl.min_pg_version() as server_is_new_enough;

-- What users call and read; private objects begin with an underscore.
\pset format unaligned
select p.proname || '(' || pg_get_function_arguments(p.oid) || ') -> ' || pg_get_function_result(p.oid) as function
from pg_depend d join pg_proc p on p.oid = d.objid
where d.classid = 'pg_proc'::regclass and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  and d.refobjid = (select oid from pg_extension where extname = 'steep_repl')
  and p.proname !~ '^_'
order by p.proname collate "C";
select c.relname as relation, c.relkind as kind, c.relrowsecurity as row_security
from pg_depend d join pg_class c on c.oid = d.objid
where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  and d.refobjid = (select oid from pg_extension where extname = 'steep_repl')
  and c.relname !~ '^_'
order by c.relname collate "C";
\pset format aligned

-- Everything of ours is a member, in our schema, and has a comment.
select count(*) as elsewhere
from pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) o
where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
  and d.refobjid = (select oid from pg_extension where extname = 'steep_repl')
  and o.schema <> 'steep_repl';
select count(*) as no_members
from pg_proc p where p.pronamespace = 'steep_repl'::regnamespace
  and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e');
select p.proname as without_comment
from pg_proc p where p.pronamespace = 'steep_repl'::regnamespace and obj_description(p.oid, 'pg_proc') is null;

-- One JavaScript function, and none that runs with its owner's rights.
select p.proname from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace = 'steep_repl'::regnamespace and l.lanname in ('plv8', 'pljs');
select p.proname from pg_proc p where p.pronamespace = 'steep_repl'::regnamespace and p.prosecdef;
select p.proname from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace = 'steep_repl'::regnamespace and l.lanname <> 'c'
  and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'));

-- Anybody may ask how it is.
select status in ('healthy', 'degraded') as answers, extension_version = library_version as versions_agree,
       js_engine in ('plv8', 'pljs') as names_the_engine, active_operations, pending_operations, last_error
from steep_repl.health();
select steep_repl.bgworker_available() = background_worker_running as agree from steep_repl.health();

drop extension steep_repl;
select nspname from pg_namespace where nspname = 'steep_repl';
select proname from pg_proc where probin like '%steep_repl%';
select classid::regclass, deptype from pg_depend d
where d.refclassid = 'pg_extension'::regclass and not exists (select from pg_extension e where e.oid = d.refobjid);

-- A schema that somebody prepared is not taken over.
create schema steep_repl;
create function steep_repl.health() returns text language sql return 'healthy';
\set VERBOSITY sqlstate
create extension steep_repl;
\set VERBOSITY default
drop schema steep_repl cascade;

-- It works a second time, in the same session.
create extension steep_repl;
select status in ('healthy', 'degraded') as answers from steep_repl.health();
drop extension steep_repl;
