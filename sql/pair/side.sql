-- What a node says of itself before it becomes half of a pair: the same functions are called here and at the peer. What is not
-- shown to the caller is NULL, so that it can be told apart from what is fine.

create function steep_repl._pair_setting(name text) returns text
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
return (select s.setting from pg_settings s where s.name = $1);
comment on function steep_repl._pair_setting(text) is 'private: a setting, NULL where the caller may not see it';

create function steep_repl._pair_space() returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_pair_space';
comment on function steep_repl._pair_space() is 'private: bytes that are free for data and for snapshots, as JSON; -1 where that is not known';

create function steep_repl._pair_server() returns jsonb
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select jsonb_build_object(
    'extension', steep_repl.version(),
    'has_worker', steep_repl.bgworker_available(), 'has_engine', h.js_engine is not null,
    'database', current_database(),
    'is_standby', pg_is_in_recovery(), 'is_read_only', current_setting('default_transaction_read_only') = 'on',
    'wal_level', current_setting('wal_level'),
    'slots', (select count(*) from pg_replication_slots), 'max_slots', current_setting('max_replication_slots')::int,
    'senders', (select count(*) from pg_stat_replication), 'max_senders', current_setting('max_wal_senders')::int,
    'max_workers', current_setting('max_worker_processes')::int,
    'reserved_workers', current_setting('steep_repl.reserved_worker_slots')::int,
    'max_appliers', current_setting('max_logical_replication_workers')::int,
    'subscriptions', (select count(*) from pg_subscription s where s.subenabled),
    'origins', (select count(*) from pg_replication_origin), 'max_origins', current_setting('max_active_replication_origins')::int,
    'transactions', (
      select coalesce(jsonb_agg(t.name order by t.name), '[]') from (
        select format('process %s of %s since %s', a.pid, a.usename, a.xact_start) as name, a.xact_start as began from pg_stat_activity a where a.backend_xid is not null
        union all
        select format('prepared transaction %L of database %I', p.gid, p.database), p.prepared from pg_prepared_xacts p) t
      where t.began < clock_timestamp() - interval '10 s'),
    'tracks_commits', current_setting('track_commit_timestamp') = 'on',
    'clock', extract(epoch from clock_timestamp())::text,
    'encoding', pg_encoding_to_char(d.encoding), 'collation', concat_ws(' ', d.datlocprovider, d.datcollate, d.datctype, d.datlocale),
    'collation_version', pg_database_collation_actual_version(d.oid), 'recorded_version', d.datcollversion,
    'keep_size', steep_repl._pair_setting('max_slot_wal_keep_size')::int,
    'idle_timeout', steep_repl._pair_setting('idle_replication_slot_timeout')::int,
    'size', pg_database_size(d.oid), 'space', steep_repl._pair_space()::jsonb,
    'directories', steep_repl._pair_setting('steep_repl.snapshot_directories'))
  from pg_database d, steep_repl.health() h where d.datname = current_database()
$fn$;
comment on function steep_repl._pair_server() is 'private: what of this server decides whether it can be half of a pair';

create function steep_repl._pair_role() returns jsonb
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select jsonb_build_object(
    'name', r.rolname, 'is_superuser', r.rolsuper, 'may_replicate', r.rolreplication or r.rolsuper, 'bypasses_rls', r.rolbypassrls or r.rolsuper,
    'may_subscribe', pg_has_role('pg_create_subscription', 'USAGE'),
    'may_create', has_database_privilege(current_database(), 'CREATE'),
    'may_set_origin', (
      select bool_and(has_function_privilege(p.oid, 'EXECUTE')) from pg_proc p
      where p.pronamespace = 'pg_catalog'::regnamespace
        and p.proname in ('pg_replication_origin_create', 'pg_replication_origin_drop',
                          'pg_replication_origin_session_setup', 'pg_replication_origin_session_reset')))
  from pg_roles r where r.rolname = current_user
$fn$;
comment on function steep_repl._pair_role() is 'private: what the caller may, of what a pair needs';

-- What else replicates here. Names of those that a FOR ALL TABLES publication has, subscriptions and slots but the pair's own.
create function steep_repl._pair_others(names jsonb) returns jsonb
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select jsonb_build_object(
    'all_tables', (select coalesce(jsonb_agg(p.pubname order by p.pubname), '[]') from pg_publication p where p.puballtables),
    'subscriptions', (
      select coalesce(jsonb_agg(s.subname order by s.subname), '[]') from pg_subscription s
      where s.subdbid = (select d.oid from pg_database d where d.datname = current_database()) and s.subname <> names ->> 'subscription'),
    'slots', (
      select coalesce(jsonb_agg(s.slot_name order by s.slot_name), '[]') from pg_replication_slots s
      where s.database = current_database() and not s.temporary and s.slot_name <> names ->> 'slot'),
    'slots_elsewhere', (
      select coalesce(jsonb_agg(s.slot_name), '[]') from pg_replication_slots s
      where s.slot_name = names ->> 'slot' and s.database is distinct from current_database()),
    'large_objects', (select count(*) from (select from pg_largeobject_metadata limit 1) m),
    'extensions', (select jsonb_agg(e.extname order by e.extname) from pg_extension e),
    'schemas', (select jsonb_agg(n.nspname order by n.nspname) from pg_namespace n where n.nspname !~ '^pg_'),
    'roles', (select jsonb_agg(r.rolname order by r.rolname) from pg_roles r where r.rolname !~ '^pg_'),
    'tablespaces', (select jsonb_agg(t.spcname order by t.spcname) from pg_tablespace t))
$fn$;
comment on function steep_repl._pair_others(jsonb) is 'private: what is here besides the tables and the pair itself';
