/*
 * What a snapshot leaves out by exclude_tables, with $1 = the job's params as jsonb. Patterns are of
 * whatever pg_dump calls a table: also views, sequences and foreign tables.
 */

import { isUserSchema } from "./snapshot-catalog.ts";

/** CTE excluded, which needs WITH RECURSIVE. The first one is there for the others. */
export const excludedCtes = `
  excluded_tree(oid) as (
    select c.oid from jsonb_to_recordset(nullif($1 -> 'exclude', 'null')) x(schema text, name text)
    join pg_class c on c.relname ~ x.name and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
    join pg_namespace n on n.oid = c.relnamespace and (x.schema is null or n.nspname ~ x.schema)
    where ${isUserSchema}
    union
    select i.inhrelid from pg_inherits i join excluded_tree p on p.oid = i.inhparent),
  excluded(oid) as (
    select t.oid from excluded_tree t
    union
    select o.objid from pg_depend o join pg_class s on s.oid = o.objid and s.relkind = 'S'
    where o.classid = 'pg_class'::regclass and o.refclassid = 'pg_class'::regclass and o.deptype in ('a', 'i')
      and o.refobjid in (select t.oid from excluded_tree t)
      and not exists (
        select from pg_depend d left join pg_attrdef f on d.classid = 'pg_attrdef'::regclass and f.oid = d.objid
        where d.refclassid = 'pg_class'::regclass and d.refobjid = o.objid
          and (f.adrelid in (select t.oid from excluded_tree t)) is not true))`;

/** Publications' memberships of tables that are left out. */
export const membershipsQuery = `
  with recursive ${excludedCtes}
  select r.oid from pg_publication_rel r where r.prrelid in (select x.oid from excluded x) order by r.oid`;

/**
 * Names of what the snapshot contains and cannot be restored without what it leaves out, joined: foreign
 * keys, and views. NULL for none, as for the patterns that leave out nothing.
 */
export const excludedFacts = `
  (select string_agg(distinct format('foreign key %I of table %s', k.conname, k.conrelid::regclass), ', ')
   from pg_constraint k
   where k.contype = 'f' and k.conparentid = 0 and k.confrelid in (select x.oid from excluded x)
     and k.conrelid in (select s.oid from selected s)) as keys_to_excluded,
  (select string_agg(distinct format('view %s', r.ev_class::regclass), ', ')
   from pg_depend d join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
   join pg_class v on v.oid = r.ev_class join pg_namespace n on n.oid = v.relnamespace
   where d.refclassid = 'pg_class'::regclass and d.refobjid in (select x.oid from excluded x)
     and v.relkind in ('v', 'm') and v.oid not in (select x.oid from excluded x)
     and ${isUserSchema} and jsonb_typeof($1 -> 'tables') is distinct from 'array'
     and (jsonb_typeof($1 -> 'schemas') is distinct from 'array' or $1 -> 'schemas' ? n.nspname)) as views_of_excluded,
  (select string_agg(p.pattern, ', ' order by p.n)
   from jsonb_array_elements_text(nullif($1 -> 'exclude_tables', 'null')) with ordinality p(pattern, n)
   where not exists (
     select from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and ${isUserSchema}
       and c.relname ~ ($1 #>> array['exclude', (p.n - 1)::text, 'name'])
       and n.nspname ~ coalesce($1 #>> array['exclude', (p.n - 1)::text, 'schema'], ''))) as unused_patterns`;
