-- What a merge must know before it reads a row: of each table, and of both databases. The queries run on
-- either side, and on PostgreSQL 14 and newer.

create function steep_repl._merge_table_query(schema_name text, table_name text) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
with target as (
  select c.oid, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = %L and c.relname = %L),
tree as (
  select p.relid::oid as oid from target t cross join lateral pg_partition_tree(t.oid) p where t.relkind = 'p'
  union select t.oid from target t)
select (select coalesce(json_agg(a.attname), '[]') from pg_attribute a
        where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and a.attidentity = 'a') as identity,
       (%s) as unique, (%s) as places,
       array_to_json(array(
         select r.name from unnest('{INSERT,UPDATE,DELETE}'::text[]) r(name) where not has_table_privilege(t.oid, r.name))) as missing_rights,
       row_security_active(t.oid) as row_security,
       -- whether PostgreSQL refuses its updates and deletes, since publications could not say of which rows they are
       exists (
         select from pg_class l
         where l.oid in (select oid from tree) and l.relkind = 'r'
           and (l.relreplident = 'n' or l.relreplident = 'd' and not exists (select from pg_index i where i.indrelid = l.oid and i.indisprimary))
           and exists (
             select from pg_publication p
             where (p.pubupdate or p.pubdelete) and (
               p.puballtables
               or exists (select from pg_publication_rel r where r.prpubid = p.oid
                          and (r.prrelid = l.oid or r.prrelid in (select a.relid from pg_partition_ancestors(l.oid) a)))
               or exists (select from pg_publication_tables s where s.pubname = p.pubname
                          and (s.schemaname, s.tablename) = ((select n.nspname from pg_namespace n where n.oid = l.relnamespace), l.relname))))) as lacks_identity,
       exists (select from pg_trigger g where g.tgrelid in (select oid from tree) and g.tgenabled <> 'D') as has_triggers,
       -- when triggers that may change a row, before it is written or afterwards, are fired: O, R, A
       array_to_json(array(
         select distinct g.tgenabled from pg_trigger g
         where g.tgrelid in (select oid from tree) and g.tgenabled <> 'D' and not g.tgisinternal and g.tgtype & 20 <> 0)) as row_triggers,
       -- and when those that are fired by a delete are, which may bring the row back
       array_to_json(array(
         select distinct g.tgenabled from pg_trigger g
         where g.tgrelid in (select oid from tree) and g.tgenabled <> 'D' and not g.tgisinternal and g.tgtype & 8 <> 0)) as delete_triggers,
       -- when rules for writing are applied: O, R, A
       array_to_json(array(
         select distinct w.ev_enabled from pg_rewrite w
         where w.ev_class in (select oid from tree) and w.ev_type in ('2', '3', '4') and w.ev_enabled <> 'D')) as rules,
       array_to_json(array(
         select distinct format('%%I.%%I', n.nspname, c.relname)
         from pg_constraint f join pg_class c on c.oid = coalesce(pg_partition_root(f.confrelid), f.confrelid)
         join pg_namespace n on n.oid = c.relnamespace
         where f.contype = 'f' and f.conrelid in (select oid from tree))) as parents,
       (%s) as sequences
from target t$sql$, schema_name, table_name, steep_repl._merge_indexes_query('t.oid'), steep_repl._merge_places_query('t.oid'),
  steep_repl._merge_sequences_query('t.oid'));
comment on function steep_repl._merge_table_query(text, text) is 'private: a query for what writing to one table needs to know, for either side';

create function steep_repl._merge_node_query(version int) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return replace($sql$
select pg_is_in_recovery() as is_standby, current_setting('default_transaction_read_only')::boolean as is_protected, quote_ident(current_user) as role, extract(epoch from clock_timestamp()) * 1000 as clock,
       @may_skip_triggers@ as may_skip_triggers, current_setting('track_commit_timestamp')::boolean as has_stamps,
       -- by their names: their arguments are others in 19
       (select bool_and(has_function_privilege(p.oid, 'EXECUTE')) from pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace
          and p.proname in ('pg_replication_origin_create', 'pg_replication_origin_drop',
                            'pg_replication_origin_session_setup', 'pg_replication_origin_session_reset')) as may_set_origin,
       (select coalesce(json_agg(json_build_object('name', s.slot_name, 'active', s.active, 'lsn', s.confirmed_flush_lsn, 'plugin', s.plugin, 'client', (select r.application_name from pg_stat_replication r where r.pid = s.active_pid), 'is_lost', s.wal_status is not distinct from 'lost')), '[]')
        from pg_replication_slots s where s.slot_type = 'logical' and s.database = current_database()) as slots,
       (select coalesce(json_agg(json_build_object('name', s.subname, 'slot', s.subslotname, 'enabled', s.subenabled, 'publications', s.subpublications, 'origin', s.origin, 'tables',
          array(select distinct format('%I.%I', n.nspname, c.relname)
                from pg_subscription_rel r join pg_class c on c.oid = coalesce(pg_partition_root(r.srrelid), r.srrelid)
                join pg_namespace n on n.oid = c.relnamespace where r.srsubid = s.oid))), '[]')
        from $sql$ || steep_repl._subscriptions() || $sql$) as subscriptions,
       array(select p.pubname from pg_publication p) as publications
$sql$, '@may_skip_triggers@', case when version >= 150000 then $sql$has_parameter_privilege('session_replication_role', 'SET')$sql$
                              else '(select r.rolsuper from pg_roles r where r.rolname = current_user)' end);
comment on function steep_repl._merge_node_query(int) is 'private: a query for what merging needs to know of a database, for either side';

-- At most 100 names, joined, and how many more there are; NULL for none.
create function steep_repl._joined(names text[]) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return nullif(array_to_string(names[1:100], ', '), '')
       || case when cardinality(names) > 100 then format(' and %s more', cardinality(names) - 100) else '' end;
comment on function steep_repl._joined(text[]) is 'private: names as one text';

-- What the tables of either side lack for a merge; writes_anything: also what its actions do not say, as an undo.
create function steep_repl._merge_lacks(writes_anything boolean, out row_security text, out not_writable text, out not_settable text, out unidentified text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  actions constant text[] := array(select a.value from pg_temp.steep_repl_merge m cross join lateral jsonb_each_text(m.actions) a);
begin
  with side as (
    select t.no, s.at, t.name, s.facts, s.name as name_of,
           array['UPDATE', case when writes_anything or 'insert_' || s.name = any (actions) then 'INSERT' end,
                 case when writes_anything or 'delete_' || s.name = any (actions) then 'DELETE' end] as needed
    from pg_temp.steep_repl_tables t
    cross join lateral (values ('local', '', t.local), ('remote', 'peer: ', t.peer)) s(name, at, facts))
  select steep_repl._joined(array(select s.at || s.name from side s where s.facts -> 'row_security' = 'true' order by s.at, s.no)),
         steep_repl._joined(array(
           select format('%s%s (%s)', s.at, s.name, r.names) from side s
           cross join lateral (
             select string_agg(m.name, ', ') as names from jsonb_array_elements_text(s.facts -> 'missing_rights') m(name)
             where m.name = any (s.needed)) r
           where r.names is not null order by s.at, s.no)),
         steep_repl._joined(array(
           select s.at || (q.value ->> 'name') from side s cross join lateral jsonb_array_elements(s.facts -> 'sequences') q
           where q.value -> 'may' = 'false' and q.value ->> 'name' is not null and 'INSERT' = any (s.needed) order by s.at, s.no)),
         steep_repl._joined(array(
           select s.at || s.name from side s
           where s.facts -> 'lacks_identity' = 'true'
             and (writes_anything or array['update_' || s.name_of, 'delete_' || s.name_of, 'stamps'] && actions) order by s.at, s.no))
  into row_security, not_writable, not_settable, unidentified;
end
$fn$;
comment on function steep_repl._merge_lacks(boolean) is 'private: rights that are missing on the tables of a merge';

-- Tables with rules that would write something else, or nothing.
create function steep_repl._merge_rules(here jsonb, there jsonb) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return steep_repl._joined(array(
    select s.at || s.name
    from (select t.no, '' as at, t.name, t.local -> 'rules' as rules, here -> 'may_skip_triggers' = 'true' as is_replica from pg_temp.steep_repl_tables t
          union all
          select t.no, 'peer: ', t.name, t.peer -> 'rules', there -> 'may_skip_triggers' = 'true' from pg_temp.steep_repl_tables t) s
    where s.rules ? 'A' or s.rules ? case when s.is_replica then 'R' else 'O' end order by s.at, s.no));
end
$fn$;
comment on function steep_repl._merge_rules(jsonb, jsonb) is 'private: tables of a merge whose rules would be applied';

-- Unique indexes and exclusion constraints that are not checked before rows are written: since that would run code of others,
-- or they are of partitions that the other side has not, or not with the same rows.
create function steep_repl._merge_unchecked(out harmful text, out unmatched text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  with indexes as (
    select t.no, format('%I of table %s', coalesce(x.ours, x.theirs) ->> 'name', coalesce(coalesce(x.ours, x.theirs) ->> 'part', t.name)) as name,
           x.ours -> 'is_harmless' = 'false' or x.theirs -> 'is_harmless' = 'false' as is_harmful,
           -- of the table's own, those that only one side has make the definitions differ
           coalesce(x.ours, x.theirs) ->> 'part' is not null and (x.ours ->> 'bound') is distinct from (x.theirs ->> 'bound') as is_unmatched
    from pg_temp.steep_repl_tables t
    cross join lateral (
      select i.value as ours, p.value as theirs
      from jsonb_array_elements(t.local -> 'unique') i(value)
      full join jsonb_array_elements(t.peer -> 'unique') p(value)
        on i.value ->> 'name' = p.value ->> 'name' and i.value -> 'part' = p.value -> 'part') x)
  select steep_repl._joined(array(select x.name from indexes x where x.is_harmful order by x.no, x.name)),
         steep_repl._joined(array(select x.name from indexes x where x.is_unmatched and x.is_harmful is not true order by x.no, x.name))
  into harmful, unmatched;
end
$fn$;
comment on function steep_repl._merge_unchecked() is 'private: what keeps rows apart and is not checked before they are written';

create function steep_repl._merge_checked_as_text() returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return steep_repl._joined(array(
    select format('%I of table %s', i.value ->> 'name', coalesce(i.value ->> 'part', t.name))
    from pg_temp.steep_repl_tables t cross join lateral jsonb_array_elements(t.local -> 'unique') i
    join lateral jsonb_array_elements(t.peer -> 'unique') p on i.value ->> 'name' = p.value ->> 'name' and i.value -> 'part' = p.value -> 'part'
    where i.value -> 'is_harmless' = 'true' and (i.value -> 'is_exact' = 'false' or p.value -> 'is_exact' = 'false')
    order by t.no, i.value ->> 'name'));
end
$fn$;
comment on function steep_repl._merge_checked_as_text() is 'private: unique indexes whose values are compared by their text';

-- Puts parents before children, tables that refer to each other in a circle beside each other; those are the result.
create function steep_repl._merge_order() returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  circle text;
begin
  with recursive reference as materialized (
    select distinct c.no as child, p.no as parent
    from pg_temp.steep_repl_tables c cross join lateral jsonb_array_elements_text(c.local -> 'parents') r(name)
    join pg_temp.steep_repl_tables p on p.name = r.name where p.no <> c.no),
  reached(no, ancestor) as (
    select r.child, r.parent from reference r union select x.no, r.parent from reached x join reference r on r.child = x.ancestor),
  circles as materialized (
    select t.no, least(t.no, min(x.ancestor)) as first, min(x.ancestor) is not null as is_in
    from pg_temp.steep_repl_tables t
    left join (select x.no, x.ancestor from reached x join reached y on y.no = x.ancestor and y.ancestor = x.no where x.no <> x.ancestor) x on x.no = t.no
    group by t.no),
  above as materialized (
    select distinct c.first as child, p.first as parent
    from reference r join circles c on c.no = r.child join circles p on p.no = r.parent where c.first <> p.first),
  level(first, depth) as (
    select distinct c.first, 0 from circles c union select a.child, l.depth + 1 from level l join above a on a.parent = l.first),
  ordered as (
    update pg_temp.steep_repl_tables t set level = d.depth
    from circles c join (select l.first, max(l.depth) as depth from level l group by l.first) d using (first) where c.no = t.no
    returning t.no, t.name, c.is_in)
  select steep_repl._joined(array_agg(o.name order by o.no)) into circle from ordered o where o.is_in;
  return circle;
end
$fn$;
comment on function steep_repl._merge_order() is 'private: orders the tables of a merge by their foreign keys';

-- Tables whose definitions differ.
create function steep_repl._merge_differing(connection text, names text[]) returns text[]
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  found constant record := steep_repl._table_fingerprints(connection, names);
begin
  return steep_repl._tables_unlike(names, found.here, found.there);
end
$fn$;
comment on function steep_repl._merge_differing(text, text[]) is 'private: tables of a merge that are defined in different ways';

-- All that plv8/merge/merge-checks.ts decides by.
create function steep_repl._merge_facts(connection text, writes_anything boolean) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  node_query constant text := steep_repl._merge_node_query(180000);
  peer_query constant text := steep_repl._merge_node_query(
    steep_repl._peer_version(connection));
  before jsonb := steep_repl._query_here(node_query) -> 0;
  there jsonb := steep_repl._peer_json(connection, peer_query) -> 0;
  here jsonb := steep_repl._query_here(node_query) -> 0;
  difference constant numeric := abs((there ->> 'clock')::numeric - ((before ->> 'clock')::numeric + (here ->> 'clock')::numeric) / 2);
  names constant text[] := array(select t.name from pg_temp.steep_repl_tables t);
  fingerprints constant record := steep_repl._table_fingerprints(connection, names);
  circle constant text := steep_repl._merge_order();
  unchecked constant record := steep_repl._merge_unchecked();
  lacks record;
  replication record;
  failing record;
  lsns record;
begin
  select * into lacks from steep_repl._merge_lacks(writes_anything);
  select * into lsns from steep_repl._merge_wait_for_replication(connection, here, there);
  here := steep_repl._query_here(node_query) -> 0;
  there := steep_repl._peer_json(connection, peer_query) -> 0;
  select * into replication from steep_repl._merge_backlog(here, there, lsns.local_lsn, lsns.peer_lsn);
  select * into failing from steep_repl._merge_apply_errors(connection, here, there) where replication.backlog is not null;
  perform steep_repl._merge_note_triggers(here, there);
  perform steep_repl._merge_note_deferred(here, there);
  return jsonb_build_object(
    'tables', (select count(*) from pg_temp.steep_repl_tables),
    'skipped', steep_repl._joined(array(select format('%s (%s)', s.name, s.reason) from pg_temp.steep_repl_skipped s order by s.name)),
    'differing', steep_repl._joined(steep_repl._tables_unlike(names, fingerprints.here, fingerprints.there)),
    'fingerprints', fingerprints.here, 'rules', steep_repl._merge_rules(here, there),
    'row_security', lacks.row_security, 'not_writable', lacks.not_writable, 'not_settable', lacks.not_settable, 'unidentified', lacks.unidentified, 'circle', circle,
    'unchecked', unchecked.harmful, 'unmatched', unchecked.unmatched, 'checked_as_text', steep_repl._merge_checked_as_text(), 'untested', steep_repl._merge_untested(),
    'read_only', steep_repl._sides(here -> 'is_standby' = 'true', there -> 'is_standby' = 'true'),
    -- here, a worker has its own setting
    'protected', steep_repl._sides(false, there -> 'is_protected' = 'true' and (
      writes_anything or replication.replicates or exists (
        select from pg_temp.steep_repl_merge m cross join lateral jsonb_each_text(m.actions) a where a.value like '%_remote' or a.value = 'stamps'))),
    'fires_triggers', steep_repl._sides(
      here -> 'may_skip_triggers' = 'false' and exists (select from pg_temp.steep_repl_tables t where t.local -> 'has_triggers' = 'true'),
      there -> 'may_skip_triggers' = 'false' and exists (select from pg_temp.steep_repl_tables t where t.peer -> 'has_triggers' = 'true')),
    'acting', steep_repl._joined(array(
      select format('%s %s', t.name, f.sides) from pg_temp.steep_repl_tables t join pg_temp.steep_repl_plans p using (no)
      cross join lateral (select steep_repl._sides(
        p.plan -> 'merge' -> 'local' ? 'fires', p.plan -> 'merge' -> 'peer' ? 'fires') as sides) f
      where f.sides is not null order by t.name)),
    'without_origin', steep_repl._sides(here -> 'may_set_origin' = 'false', there -> 'may_set_origin' = 'false'),
    'without_stamps', steep_repl._sides(here -> 'has_stamps' = 'false', there -> 'has_stamps' = 'false'),
    'replicates', replication.replicates, 'backlog', replication.backlog, 'given_up', replication.given_up,
    'lacks_to_discard', case when replication.backlog is not null then steep_repl._merge_lacks_to_discard(connection) end, 'without_slot', steep_repl._merge_without_slot(here, there),
    'echoing', steep_repl._merge_echoing(here, there, writes_anything),
    'busy_slots', replication.busy_slots, 'other_slots', replication.other_slots, 'waiting_slots', replication.waiting_slots,
    'lost', replication.lost, 'resuming', replication.resuming,
    'apply_errors', failing.errors, 'skipping', failing.commands,
    'clock_difference', round(difference), 'role', here ->> 'role');
end
$fn$;
comment on function steep_repl._merge_facts(text, boolean) is 'private: what decides whether a merge may begin';

create function steep_repl._sides(here boolean, there boolean) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return nullif(concat_ws(' and ', case when here then 'here' end, case when there then 'at the peer' end), '');
comment on function steep_repl._sides(boolean, boolean) is 'private: which sides something is true of, in words';
