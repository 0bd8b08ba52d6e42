/*
 * The queries of a snapshot. They run with the requester's rights, with $1 =
 * the job's params as jsonb. Catalogs are readable by all, so these only say
 * what there is; the rights to read it are checked where it is read.
 */

import { excludedCtes, excludedFacts } from "./excluded-sql.ts";
import { countObjects, unreadableObjects } from "./large-objects-sql.ts";
import { isExtensionMember, isUserSchema } from "./snapshot-catalog.ts";
import { nameColumns, namedCtes } from "./snapshot-names.ts";

/**
 * CTEs that every query begins with. chosen_tree: named tables with their
 * partitions and children, as pg_dump's --table-and-children takes them.
 * excluded: what the patterns name, with partitions and children, and the sequences that such tables
 * own, unless something else uses them. config: of extensions, the tables and sequences whose contents
 * they do not bring themselves. Those too are limited as pg_dump limits them.
 */
const selection = `${excludedCtes},
  chosen(oid) as (
    select steep_repl._to_regclass(t.name)::oid
    from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)),
  chosen_tree(oid) as (
    select c.oid from chosen c
    union
    select i.inhrelid from pg_inherits i join chosen_tree p on p.oid = i.inhparent),
  selected(oid) as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'm', 'S') and c.relpersistence <> 't' and ${isUserSchema}
      and case when jsonb_typeof($1 -> 'tables') = 'array'
               then c.oid in (select t.oid from chosen_tree t)
                    or c.oid in (select d.objid from pg_depend d
                                 where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
                                   and d.deptype in ('a', 'i') and c.relkind = 'S'
                                   and d.refobjid in (select t.oid from chosen_tree t))
               when jsonb_typeof($1 -> 'schemas') = 'array' then $1 -> 'schemas' ? n.nspname
               else true end
      and c.oid not in (select x.oid from excluded x)
      and not ${isExtensionMember("pg_class", "c.oid")}),
  config(oid, condition) as (
    select u.oid, nullif(u.condition, '')
    from pg_extension e cross join unnest(e.extconfig, e.extcondition) u(oid, condition)
    join pg_class c on c.oid = u.oid join pg_namespace n on n.oid = c.relnamespace
    where e.extname <> 'steep_repl' and u.oid not in (select x.oid from excluded x)
      and case when jsonb_typeof($1 -> 'tables') = 'array' then u.oid in (select t.oid from chosen_tree t)
               when jsonb_typeof($1 -> 'schemas') = 'array' then $1 -> 'schemas' ? n.nspname
               else true end)`;

/**
 * Changes with whatever could make a table's rows or columns differ from what
 * a snapshot saw: rewrite, truncation, columns, kind, rename.
 */
const fingerprint = `
  concat_ws(':', c.xmin, c.relfilenode,
    (select concat_ws('.', count(*), max(a.xmin::text::bigint))
     from pg_attribute a where a.attrelid = c.oid and a.attnum > 0))`;

/**
 * CTEs after those of selection. moving: partitions whose rows may belong into others of another
 * server, with the root to load them through, where the snapshot has it. Those of pg_dump's rule
 * (hashed by an enum, whose labels are oids) and whatever else may be placed by oids, or by an
 * operator class of others. A list's values are told from each other everywhere in the same way.
 */
const partitions = `
  partitioned(oid, unsafe) as (
    select p.partrelid, p.partstrat <> 'l' and exists (
      select from unnest(p.partclass::oid[], p.partattrs::int2[]) k(opclass, attnum)
      join pg_opclass o on o.oid = k.opclass
      left join pg_attribute a on a.attrelid = p.partrelid and a.attnum = k.attnum
      where o.opcnamespace <> 'pg_catalog'::regnamespace
         or o.opcintype in ('anyarray'::regtype, 'anyrange'::regtype, 'anymultirange'::regtype,
                            'record'::regtype, 'aclitem'::regtype)
         or (o.opcintype = 'anyenum'::regtype and p.partstrat = 'h')
         or (o.opcintype = 'oid'::regtype and a.atttypid is distinct from 'oid'::regtype))
    from pg_partitioned_table p),
  placed(oid, root, unsafe) as (
    select p.oid, p.oid, p.unsafe from partitioned p join pg_class c on c.oid = p.oid
    where not c.relispartition
    union all
    select i.inhrelid, l.root, l.unsafe or coalesce(p.unsafe, false)
    from placed l join pg_inherits i on i.inhparent = l.oid left join partitioned p on p.oid = i.inhrelid),
  moving(oid, nspname, relname) as (
    select l.oid, n.nspname, c.relname
    from placed l join pg_class c on c.oid = l.root join pg_namespace n on n.oid = c.relnamespace
    where l.unsafe and l.root in (select s.oid from selected s))`;

export const tablesQuery = `
  with recursive ${selection}, ${partitions}
  select c.oid, n.nspname::text, c.relname::text, pg_get_userbyid(c.relowner)::text,
         (select array_agg(a.attname::text order by a.attnum) from pg_attribute a
          where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''),
         ${fingerprint}, g.condition, (g.oid is not null), r.nspname::text, r.relname::text
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  left join config g on g.oid = c.oid
  left join moving r on r.oid = c.oid
  where c.relkind = 'r' and (c.oid in (select s.oid from selected s) or g.oid is not null)
  order by c.oid`;

export const fingerprintsQuery = `
  select c.oid, ${fingerprint} from pg_class c where c.relkind = 'r' order by c.oid`;

/** A view that reaches more views depends on them, so it comes later. */
export const matviewsQuery = `
  with recursive ${selection},
  matview(oid) as (
    select c.oid from pg_class c
    where c.relkind = 'm' and c.relispopulated and c.oid in (select s.oid from selected s)),
  uses(oid, used) as (
    select distinct r.ev_class, d.refobjid
    from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    where d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class),
  reach(oid, reached) as (
    select m.oid, m.oid from matview m
    union
    select r.oid, u.used from reach r join uses u on u.oid = r.reached)
  select m.oid from matview m
  order by (select count(*) from reach r where r.oid = m.oid and r.reached in (select x.oid from matview x)),
           m.oid`;

/**
 * Columns: schema, table, the name as given, whether it is to be left out. Both names are null for a
 * table that is gone by now. pg_dump leaves out partitions and children by itself.
 */
export const filterQuery = `
  with recursive ${excludedCtes}
  select n.nspname::text, c.relname::text, t.name, false
  from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)
  left join pg_class c on c.oid = steep_repl._to_regclass(t.name)
  left join pg_namespace n on n.oid = c.relnamespace
  union
  select s.name, null, s.name, false from jsonb_array_elements_text(nullif($1 -> 'schemas', 'null')) s(name)
  union
  select n.nspname::text, c.relname::text, c.relname::text, true
  from excluded x join pg_class c on c.oid = x.oid join pg_namespace n on n.oid = c.relnamespace
  where not exists (select from pg_inherits i where i.inhrelid = x.oid and i.inhparent in (select o.oid from excluded o))`;

/** Those named in the params that do not exist, joined; NULL = none. */
export const missingPublications = `
         (select string_agg(p.name, ', ')
          from jsonb_array_elements_text(nullif($1 -> 'publications', 'null')) p(name)
          where not exists (select from pg_publication x where x.pubname = p.name)) as missing_publications`;

/** Names that do not fit; everything that the requester lacks, in one message; large objects. */
export const startFactsQuery = `
  with recursive ${selection},
  ${namedCtes},
  relation(oid, relkind, name, readable) as (
    select c.oid, c.relkind, format('%I.%I', n.nspname, c.relname),
           has_schema_privilege(n.oid, 'USAGE')
           and case when c.relkind <> 'S' then has_table_privilege(c.oid, 'SELECT')
                      or not exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
                                     and not a.attisdropped and a.attgenerated = ''
                                     and not has_column_privilege(c.oid, a.attnum, 'SELECT'))
                    else has_sequence_privilege(c.oid, 'SELECT')
                      or exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                                 and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
                                 and d.deptype in ('a', 'i') and has_table_privilege(d.refobjid, 'SELECT')) end
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'S')
      and c.oid in (select s.oid from selected s union select g.oid from config g)),
  problem(name, what) as (
    select r.name, 'no SELECT on ' || case r.relkind when 'S' then 'sequence ' else 'table ' end || r.name
    from relation r where not r.readable
    union all
    select r.name, 'row security hides rows of table ' || r.name
    from relation r where r.readable and r.relkind = 'r' and row_security_active(r.oid)
    union all${unreadableObjects})
  select ${nameColumns},
         (select string_agg(p.what, ', ' order by p.name) from (select * from problem order by name limit 1000) p)
           || (select case when count(*) > 1000 then format(' and %s more', count(*) - 1000) else '' end from problem)
           as unreadable,
         ${countObjects} as large_objects,
         ${excludedFacts},
         ${missingPublications}`;

/**
 * How many relations pg_dump locks, until it ends: tables, sequences (to read
 * their values), and what views refer to (to print them).
 */
export const lockFactsQuery = `
  with recursive ${selection}
  select (select count(*)::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where (c.relkind in ('r', 'p', 'S') and c.oid in (select s.oid from selected s union select g.oid from config g))
             or (c.relkind in ('v', 'm', 'f') and ${isUserSchema}
                 and exists (select from pg_depend d where d.classid = 'pg_rewrite'::regclass and d.deptype = 'n'
                             and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid)))
           as relations_to_lock,
         steep_repl._lock_table_size()::text as lock_table_size,
         current_setting('max_locks_per_transaction') as max_locks_per_transaction`;
