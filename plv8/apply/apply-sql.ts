/*
 * The queries of an apply about what is there already. $1 = the job's params,
 * $2 = names of the tables to load, $3 = of the sequences to set, $4 = of the
 * relations to create, $5 = of $2 the tables that are loaded through their partition root, $6 = oids of
 * the large objects to create. They run with the requester's rights; what they report
 * as missing is checked again where it is needed.
 */

const targets = `
  target(position, name, oid) as (
    select t.position, t.name, to_regclass(t.name)::oid
    from unnest($2) with ordinality t(name, position))`;

/** At most 100 names, joined, and how many more there are; NULL for none. */
const listed = (from: string) => `
  (select string_agg(x.name, ', ' order by x.name) filter (where x.n <= 100)
          || case when count(*) > 100 then format(' and %s more', count(*) - 100) else '' end
   from (select q.name, row_number() over (order by q.name) as n from (${from}) q) x)`;

/** A table needs INSERT on each column that is written, not on generated ones. */
const insertable = `
  (has_table_privilege(c.oid, 'INSERT')
   or not exists (select from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
                  and not a.attisdropped and a.attgenerated = ''
                  and not has_column_privilege(c.oid, a.attnum, 'INSERT')))`;

/**
 * Foreign keys between tables to load, once for each pair. One that refers to a
 * partitioned table refers to all of its partitions.
 */
const references = `
  reference(child, parent) as (
    select distinct c.conrelid, p.relid::oid
    from pg_constraint c
    cross join lateral (select t.relid from pg_partition_tree(c.confrelid) t
                        union select c.confrelid::regclass) p(relid)
    where c.contype = 'f' and c.conrelid <> p.relid
      and c.conrelid in (select t.oid from target t) and p.relid in (select t.oid from target t))`;

/** How many tables must be loaded before each, at least; in a circle it grows without end. */
const levels = `
  level(oid, depth) as (
    select t.oid, 0 from target t where t.oid is not null
    union
    select r.child, l.depth + 1 from level l join reference r on r.parent = l.oid
    where l.depth <= (select count(*) from (select child from reference union select parent from reference) x))`;

export const factsQuery = `
  with recursive ${targets}, ${references}, ${levels}
  select json_build_object(
    'existing', ${listed("select n.name from unnest($4) n(name) where to_regclass(n.name) is not null")},
    'existing_objects', ${listed("select m.oid::text as name from pg_largeobject_metadata m where m.oid = any ($6::oid[])")},
    'missing', ${listed("select t.name from target t where t.oid is null")},
    'not_insertable', ${listed(`select distinct c.oid::regclass::text as name from target t
      join pg_class c on c.oid = case when t.name = any ($5) then pg_partition_root(t.oid) else t.oid end
      where not ${insertable}`)},
    'not_tables', ${listed("select t.name from target t join pg_class c on c.oid = t.oid where c.relkind not in ('r', 'p')")},
    'row_security', ${listed("select t.name from target t where t.oid is not null and row_security_active(t.oid)")},
    'not_truncatable', ${listed("select t.name from target t where t.oid is not null and not has_table_privilege(t.oid, 'TRUNCATE')")},
    'missing_sequences', ${listed("select s.name from unnest($3) s(name) where to_regclass(s.name) is null")},
    'not_settable', ${listed("select s.name from unnest($3) s(name) where to_regclass(s.name) is not null and not has_sequence_privilege(to_regclass(s.name)::oid, 'UPDATE')")},
    'circle', ${listed("select t.name from target t where t.oid in (select l.oid from level l where l.depth > (select count(*) from (select child from reference union select parent from reference) x))")},
    'has_triggers', exists (select from pg_trigger g where g.tgrelid in (select t.oid from target t) and g.tgenabled <> 'D'),
    'may_skip_triggers', has_parameter_privilege('session_replication_role', 'SET'),
    'may_set_origin', (select bool_and(has_function_privilege(p.oid, 'EXECUTE')) from pg_proc p
      where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = 'pg_replication_origin_session_setup'),
    'publishes', exists (select from pg_publication),
    'replicated', (select to_json(r) from steep_repl._replicated($2) r),
    'role', quote_ident(current_user))`;

export const levelsQuery = `
  with recursive ${targets}, ${references}, ${levels}
  select t.position, max(l.depth)::bigint
  from level l join target t on t.oid = l.oid
  where l.depth > 0
  group by t.position`;

/**
 * The enforced ones of tables that were loaded while they were not checked.
 * As PostgreSQL checks them: MATCH FULL also refuses keys that are NULL in part, and under PERIOD the ranges of the
 * parents have to cover that of the child together.
 */
const foreignKeyChecks = `
  select format('foreign key %I of table %s', c.conname, c.conrelid::regclass) as name, 'f' as kind,
         case when has_table_privilege(c.conrelid, 'SELECT') and has_table_privilege(c.confrelid, 'SELECT') then
           format('select 1 from only %s f where %s and not exists (%s) limit 1',
                  c.conrelid::regclass,
                  case c.confmatchtype when 'f' then '(' || k.some || ')' else k.every end,
                  format(case when c.conperiod then
                           'select from (select p.%3$s as r from %1$s p where %2$s and p.%3$s operator(pg_catalog.&&) f.%4$s) x'
                           ' having f.%4$s operator(pg_catalog.<@) pg_catalog.range_agg(x.r)'
                         else 'select from %1$s p where %2$s' end,
                         case when (select r.relkind from pg_class r where r.oid = c.confrelid) = 'r' then 'only ' else '' end || c.confrelid::regclass,
                         k.equal, k.parent_period, k.child_period)) end
  from pg_constraint c
  cross join lateral (
    select string_agg(format('f.%I is not null', a.attname), ' and ') as every,
           string_agg(format('f.%I is not null', a.attname), ' or ') as some,
           string_agg(format('p.%I operator(%I.%s) f.%I', b.attname, n.nspname, o.oprname, a.attname), ' and ')
             filter (where not i.is_period) as equal,
           max(quote_ident(b.attname)) filter (where i.is_period) as parent_period,
           max(quote_ident(a.attname)) filter (where i.is_period) as child_period
    from unnest(c.conkey, c.confkey, c.conpfeqop) with ordinality u(child, parent, op, n)
    cross join lateral (select c.conperiod and u.n = cardinality(c.conkey) as is_period) i
    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = u.child
    join pg_attribute b on b.attrelid = c.confrelid and b.attnum = u.parent
    join pg_operator o on o.oid = u.op
    join pg_namespace n on n.oid = o.oprnamespace) k
  where c.contype = 'f' and c.convalidated and c.conenforced and c.conrelid in (select t.oid from target t)
    -- one that refers to a partitioned table has others for its partitions, which say less
    and not exists (select from pg_constraint u where u.oid = c.conparentid and u.conrelid = c.conrelid)`;

/**
 * Deferrable constraints that keep rows apart: triggers check them, which did not fire. Those of equality are checked by that of the
 * columns' types, others by their operators.
 */
const deferrableChecks = `
  select format('constraint %I of table %s', c.conname, c.conrelid::regclass), case when c.conexclop is null then 'u' else 'x' end,
         case when not has_table_privilege(c.conrelid, 'SELECT') then null
              when c.conexclop is null then
                format('select 1 from %s a where %s group by %s having count(*) > 1 limit 1', k.rows,
                       case when i.indnullsnotdistinct then 'true' else k.every end, k.names)
              else format('select 1 from %1$s a join %1$s b on a.r <> b.r and %2$s limit 1', k.rows, k.conflict) end
  from pg_constraint c
  join pg_index i on i.indexrelid = c.conindid
  cross join lateral (
    select format('(select t.ctid as r, %s from only %s t%s)', string_agg(format('(%s) as k%s', pg_get_indexdef(i.indexrelid, u.n::int, false), u.n), ', '),
                  c.conrelid::regclass, coalesce(' where ' || pg_get_expr(i.indpred, i.indrelid), '')) as rows,
           string_agg(format('a.k%s is not null', u.n), ' and ') as every,
           string_agg('a.k' || u.n, ', ') as names,
           string_agg(format('a.k%s operator(%s.%s) b.k%s', u.n, quote_ident(n.nspname), o.oprname, u.n), ' and ') as conflict
    from generate_series(1, i.indnkeyatts) u(n)
    left join pg_operator o on o.oid = c.conexclop[u.n]
    left join pg_namespace n on n.oid = o.oprnamespace) k
  where c.contype in ('p', 'u', 'x') and c.condeferrable and c.conrelid in (select t.oid from target t)`;

/**
 * Rows (name of a constraint, its kind: f, u or x, query that finds a row that violates it; NULL where the requester may not read the
 * tables): of tables that were loaded while triggers did not fire.
 */
export const constraintChecksQuery = `
  with ${targets}
  ${foreignKeyChecks}
  union all
  ${deferrableChecks}
  order by 1`;
