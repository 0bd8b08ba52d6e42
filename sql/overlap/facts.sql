create function steep_repl._row_digest(variadic "any") returns bigint
language c immutable parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_row_digest';
comment on function steep_repl._row_digest("any") is 'private: a digest of values, the same for equal ones; of this version and machine';

-- What the catalogs of either side say of the tables to compare. The queries run on PostgreSQL 14 and newer,
-- and where there is no steep_repl; with search_path = pg_catalog, so that type names are qualified alike.

-- Of each column: what its type is made of, which decides how it is digested (plv8/overlap/overlap-expressions.ts).
--   scalar     a type whose values are the same in any database, or a domain over one; `base` is its name
--   container  an array, range or composite type of such
--   other      anything else: oids are hashed (enums, reg*), there is no hash, or equality is not that of bytes
-- `base_type` is the type below any domain, for a cast to a domain runs its checks; `is_builtin` says that it is one of
-- pg_catalog's, whose cast to text is no function of whoever owns the table.
create function steep_repl._overlap_facts_query(schema_name text, table_name text) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
with recursive target as (
  select c.oid, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = %L and c.relname = %L),
leaf as (
  select c.oid, c.reltuples from target t join pg_partition_tree(t.oid) p on p.isleaf join pg_class c on c.oid = p.relid
  where t.relkind = 'p'
  union all
  select c.oid, c.reltuples from target t join pg_class c on c.oid = t.oid where t.relkind <> 'p'),
col as (
  select a.attnum, a.attname, a.atttypid, a.attcollation, a.attgenerated, a.attnotnull, a.attrelid
  from target t join pg_attribute a on a.attrelid = t.oid where a.attnum > 0 and not a.attisdropped),
part(attnum, type, coll, contained, is_array) as (
  select c.attnum, c.atttypid, c.attcollation, false, false from col c
  union all
  select p.attnum, x.type, x.coll, p.contained or x.contained, x.is_array
  from part p join pg_type t on t.oid = p.type
  cross join lateral (
    select t.typbasetype as type, p.coll as coll, false as contained, false as is_array where t.typtype = 'd'
    union all
    select t.typelem, p.coll, true, p.contained where t.typsubscript = 'array_subscript_handler'::regproc
    union all
    select r.rngsubtype, r.rngcollation, true, false from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
    union all
    select a.atttypid, a.attcollation, true, false from pg_attribute a
    where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) x),
judged as (
  select p.attnum,
         bool_or(p.contained or t.typsubscript = 'array_subscript_handler'::regproc or t.typtype in ('c', 'r', 'm')) as is_container,
         bool_or(p.is_array or p.contained and t.typtype = 'c') as nests,
         bool_or(t.typsubscript = 'array_subscript_handler'::regproc) as has_array,
         bool_or(t.typtype = 'c') as has_row,
         bool_or(l.is_leaf and t.typname in ('numeric', 'jsonb')) as has_signs,
         bool_or(l.is_leaf and t.typname in ('numeric', 'jsonb', 'float4', 'float8', 'interval', 'bpchar')) as has_spellings,
         min(t.typname::text) filter (where l.is_leaf) as base,
         max(t.oid) filter (where not p.contained and t.typtype <> 'd') as below,
         bool_or(t.typnamespace = 'pg_catalog'::regnamespace) filter (where not p.contained and t.typtype <> 'd') as is_builtin,
         bool_or(l.is_leaf and not (t.typnamespace = 'pg_catalog'::regnamespace and t.typname in (
             'bool', 'char', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'oid', 'pg_lsn', 'xid8', 'bytea',
             'date', 'time', 'timetz', 'timestamp', 'timestamptz', 'interval', 'uuid', 'inet', 'cidr',
             'macaddr', 'macaddr8', 'name', 'text', 'varchar', 'bpchar', 'jsonb'))
           or t.oid in ('int2vector'::regtype, 'oidvector'::regtype)
           or not coalesce(c.collisdeterministic, true)) as is_odd,
         bool_or(l.is_leaf and t.typname in ('name', 'text', 'varchar', 'bpchar', 'jsonb')) as is_textual
  from part p join pg_type t on t.oid = p.type left join pg_collation c on c.oid = p.coll
  cross join lateral (
    select t.typtype not in ('d', 'c', 'r', 'm') and t.typsubscript <> 'array_subscript_handler'::regproc as is_leaf) l
  group by p.attnum)
select t.relkind::text as kind, t.oid::text as oid,
       current_setting('server_encoding') as encoding,
       -- where our functions in C can be called: what their answers depend on
       (select concat_ws(' ', e.extversion, current_setting('server_version_num')::int / 10000, substring(version() from ' on ([^-, ]+)'))
        from pg_extension e join pg_namespace n on n.nspname = 'steep_repl'
        where e.extname = 'steep_repl' and has_schema_privilege(n.oid, 'USAGE')
          and (select count(*) from pg_proc p where p.pronamespace = n.oid and has_function_privilege(p.oid, 'EXECUTE')
               and p.proname in ('_row_digest', '_row_image', '_image_rows', '_insert_images')) = 4) as functions,
       (select coalesce(sum(pg_relation_size(l.oid)), 0)::float8 from leaf l) as bytes,
       (select coalesce(sum(case when l.reltuples < 0 then pg_relation_size(l.oid) / 100 else l.reltuples end), 0)::float8
        from leaf l) as rows,
       (select coalesce(json_agg(json_build_object(
          'name', c.attname, 'type', format_type(c.atttypid, -1), 'base_type', format_type(j.below, -1),
          'is_builtin', j.is_builtin, 'generated', c.attgenerated <> '',
          'kind', case when j.is_odd or j.nests then 'other' when j.is_container then 'container' else 'scalar' end,
          'base', coalesce(j.base, ''), 'has_array', j.has_array, 'has_row', j.has_row,
          'has_signs', j.has_signs, 'has_spellings', j.has_spellings,
          'textual', j.is_textual, 'readable', has_column_privilege(t.oid, c.attnum, 'SELECT'))
                        order by attnum), '[]')
        from col c join judged j using (attnum)) as columns,
       -- What identifies rows: NULLs may be there where a NOT NULL has not been validated (18), and an index may go by another
       -- equality than its type's. A key WITHOUT OVERLAPS (18) is one of its columns' equality, since no range in it is empty.
       (select coalesce(json_agg(json_build_object('primary', i.indisprimary, 'immediate', i.indimmediate, 'columns', k.names)
                        order by i.indisprimary desc, i.indimmediate desc, i.indnkeyatts, i.indexrelid), '[]')
        from pg_index i
        cross join lateral (
          select json_agg(c.attname order by u.n) as names,
                 bool_and(c.attnotnull and not exists (
                   select from pg_constraint v
                   where v.conrelid = c.attrelid and v.contype = 'n' and v.conkey = array[c.attnum] and not v.convalidated)) as has_no_nulls,
                 bool_and(o.opcdefault or o.opcname ~ '_pattern_ops$' and o.opcnamespace = 'pg_catalog'::regnamespace) as has_own_equality
          from unnest(i.indkey::int2[]) with ordinality u(attnum, n) join col c using (attnum)
          join pg_opclass o on o.oid = (i.indclass::oid[])[u.n - 1]
          where u.n <= i.indnkeyatts) k
        where i.indrelid = t.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null
          and k.has_no_nulls and k.has_own_equality) as keys
from target t$sql$, schema_name, table_name);
comment on function steep_repl._overlap_facts_query(text, text) is 'private: a query for what comparing one table needs to know, for either side';

-- Tables that are compared where none are named: partitioned ones as a whole, and nothing that belongs to an extension.
create function steep_repl._overlap_tables_query() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
select format('%I.%I', n.nspname, c.relname) as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
  and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and n.nspname <> 'steep_repl'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
$sql$;
comment on function steep_repl._overlap_tables_query() is 'private: a query for the tables that can be compared, for either side';
