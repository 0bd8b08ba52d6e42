-- Of unique indexes, what a merge must know to find the rows that they would refuse.

-- A condition: that reading a value of the index i, and its predicate, runs no code of a role that is neither a superuser nor the
-- caller. So it is if all that is evaluated are columns, of built-in types, and functions and operators that are such roles' and
-- immutable, in nodes that look nothing up by themselves when they are executed, as a constructor of JSON does. An index may have
-- a volatile function in a branch that was dead when it was made, and come to it by an object of its owner's, as to_tsvector() does
-- by a text search configuration: so none takes an object's oid. Else the table, and with it the index, must be a superuser's or the
-- caller's, and so must be what the index depends on: functions, casts among them, operators, and domains. Where our library does
-- not guard, nothing is called that is not built in: the text may be parsed as a call of another function than the index has.
create function steep_repl._index_is_harmless() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return replace($sql$
  (not exists (
     select from regexp_matches(
       concat_ws(' ', i.indexprs::text, i.indpred::text),
       '[{]([A-Z_]+)|:(vartype|consttype|funcresulttype|opresulttype|resulttype|element_typeid|array_typeid|casetype|coalescetype|minmaxtype|funcid|opno) ([0-9]+)',
       'g') n(found)
     where n.found[1] <> all ('{VAR,CONST,FUNCEXPR,OPEXPR,DISTINCTEXPR,NULLIFEXPR,SCALARARRAYOPEXPR,RELABELTYPE,BOOLEXPR,NULLTEST,BOOLEANTEST,ARRAY,ARRAYEXPR,CASE,CASEEXPR,WHEN,CASEWHEN,CASETESTEXPR,COALESCE,COALESCEEXPR,MINMAX,MINMAXEXPR}')
        or n.found[3]::int8 >= 16384 and n.found[2] not in ('funcid', 'opno')
        or n.found[2] in ('funcid', 'opno') and not exists (
          select from pg_proc p
          where p.oid = case n.found[2] when 'funcid' then n.found[3]::oid
                                        else (select o.oprcode from pg_operator o where o.oid = n.found[3]::oid)::oid end
            and (p.oid < 16384 or @is_guarded@ and exists (select from pg_roles r where r.oid = p.proowner and (r.rolsuper or r.rolname = current_user)))
            and p.provolatile = 'i'
            and not p.proargtypes::oid[] && array(select t.oid from pg_type t where t.typname ~ '^reg' or t.typname = 'oid' or t.typtype = 'p')))
   or exists (
     select from pg_class c join pg_roles r on r.oid = c.relowner
     where c.oid = i.indrelid and (r.rolsuper or r.rolname = current_user))
   and @is_guarded@
   and not exists (
    select from pg_depend d
    cross join lateral (
      select p.proowner as owner from pg_proc p where d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid
      union all
      select unnest(array[o.oprowner, p.proowner]) from pg_operator o join pg_proc p on p.oid = o.oprcode
      where d.refclassid = 'pg_operator'::regclass and o.oid = d.refobjid
      union all
      select y.typowner from pg_type y left join pg_type e on e.oid = y.typelem
      where d.refclassid = 'pg_type'::regclass and y.oid = d.refobjid and coalesce(e.typtype, y.typtype) <> 'e') u
    where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
      and not exists (select from pg_roles r where r.oid = u.owner and (r.rolsuper or r.rolname = current_user))))$sql$,
  '@is_guarded@', $sql$exists (select from pg_settings s where s.name = 'steep_repl.planning_timeout')$sql$);
comment on function steep_repl._index_is_harmless() is 'private: a condition that an index i runs no code of other roles';

-- A condition: that a function p is immutable, and calling it runs no code of a role that is neither a superuser nor the caller.
create function steep_repl._function_is_harmless() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$(p.provolatile = 'i' and (p.oid < 16384 or exists (select from pg_settings s where s.name = 'steep_repl.planning_timeout')
             and exists (select from pg_roles r where r.oid = p.proowner and (r.rolsuper or r.rolname = current_user))))$sql$;
comment on function steep_repl._function_is_harmless() is 'private: a condition that a function p runs no code of other roles';

-- The unique indexes and exclusion constraints of a table and of its partitions alone, as json. A value is compared with others by
-- the equality of its type below any domain ('value'), or likewise after a cast from text, since arrays of arrays are not what they
-- are made of ('cast'). Of types from elsewhere, that may be code of whoever made it: an enum's values are compared by their
-- labels ('label'), others after a cast from text by the operator of the index ('made') where type and operator are of superusers
-- or the caller, and else as text. An exclusion constraint is compared by its own operators, or it is not harmless.
create function steep_repl._merge_indexes_query(table_oid text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace(replace(replace($sql$
with recursive tree(oid) as (
  select p.relid::oid from pg_partition_tree(@table@) p union select @table@),
indexed as (
  select i.*, x.relname, c.conexclop, i.indisexclusion or c.conexclop is not null as excludes, i.indrelid <> @table@ as is_part
  from tree join pg_index i on i.indrelid = tree.oid join pg_class x on x.oid = i.indexrelid
  left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x')
  -- An index of a partition that is a part of one of the table's is checked with that, but one made ON ONLY, which is not valid,
  -- keeps no rows apart: what does are those of the partitions. One that only was not made to its end refuses rows all the same.
  where (i.indisunique or i.indisexclusion) and case x.relkind when 'I' then i.indisvalid else i.indislive and i.indisready end
    and not exists (select from pg_inherits h join pg_index u on u.indexrelid = h.inhparent and u.indisvalid
                    where h.inhrelid = x.oid and i.indrelid <> @table@)),
part as (
  select i.indexrelid, u.n, u.attnum, oc.opcfamily, oc.opcintype,
         -- an index may store something else than its values
         coalesce(a.atttypid, case when oc.opckeytype = 0 then xa.atttypid else oc.opcintype end) as type
  from indexed i cross join lateral unnest(i.indkey::int2[]) with ordinality u(attnum, n)
  join pg_opclass oc on oc.oid = (i.indclass::oid[])[u.n - 1]
  join pg_attribute xa on xa.attrelid = i.indexrelid and xa.attnum = u.n
  left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.attnum and u.attnum > 0
  where u.n <= i.indnkeyatts),
chain(type, base, typtype) as (
  select y.oid, y.oid, y.typtype from pg_type y where y.oid in (select p.type from part p)
  union all
  select c.type, y.oid, y.typtype from chain c join pg_type d on d.oid = c.base join pg_type y on y.oid = d.typbasetype where c.typtype = 'd'),
below as (select c.type, c.base from chain c where c.typtype <> 'd'),
judged as (
  select p.*, y.oid as base, y.typsubscript = 'array_subscript_handler'::regproc as is_array, y.typtype,
         y.typnamespace = 'pg_catalog'::regnamespace as is_builtin, o.operator,
         y.typtype in ('b', 'r', 'm', 'e') and exists (select from pg_roles r where r.oid = y.typowner and (r.rolsuper or r.rolname = current_user))
         and (select coalesce(bool_and(@function@), false) from pg_proc p where p.oid in (o.oprcode, y.typinput, y.typoutput) and p.oid >= 16384
              or p.oid = o.oprcode) as is_made,
         (select @function@ from pg_proc p where p.oid = o.oprcode) as is_operator_harmless
  from part p join indexed i using (indexrelid) join below b using (type) join pg_type y on y.oid = b.base
  left join lateral (
    select format('operator(%I.%s)', n.nspname, o.oprname) as operator, o.oprcode
    from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
    where o.oid = case when i.excludes then i.conexclop[p.n]
                       else (select am.amopopr from pg_amop am where am.amopfamily = p.opcfamily and am.amopstrategy = 3
                             and am.amoplefttype = p.opcintype and am.amoprighttype = p.opcintype) end) o on true),
read as (
  select j.*, case when j.is_builtin and j.is_array then 'cast' when j.is_builtin then 'value'
                   when j.typtype = 'e' and not i.excludes then 'label' when j.is_made then 'made' else 'text' end as reading
  from judged j join indexed i using (indexrelid))
select coalesce(json_agg(json_build_object(
         'name', i.relname, 'columns', case when i.indexprs is null then k.columns end, 'expressions', k.expressions,
         'types', k.types, 'readings', k.readings, 'operators', k.operators, 'excludes', i.excludes,
         'predicate', pg_get_expr(i.indpred, i.indrelid),
         'nulls_not_distinct', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
         'deferrable', not i.indimmediate, 'of_generated', k.of_generated, 'part', case when i.is_part then r.name end, 'part_kind', case when i.is_part then r.relkind end,
         'bound', case when i.is_part then (
           select string_agg(pg_get_expr(b.relpartbound, b.oid), ' ' order by a.n)
           from pg_partition_ancestors(i.indrelid) with ordinality a(relid, n) join pg_class b on b.oid = a.relid) end,
         'is_exact', k.is_exact, 'is_harmless', @index@ and (not i.excludes or k.is_excluding_harmless))), '[]')
from indexed i
join lateral (
  select format('%I.%I', n.nspname, c.relname) as name, c.relkind
  from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = i.indrelid) r on true
cross join lateral (
  select json_agg(a.attname order by u.n) as columns, json_agg(format_type(u.base, -1) order by u.n) as types,
         json_agg(u.reading order by u.n) as readings, json_agg(u.operator order by u.n) as operators,
         json_agg(pg_get_indexdef(i.indexrelid, u.n::int, false)
                  || coalesce((select format(' collate %I.%I', cn.nspname, co.collname) from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
                               where co.oid = (i.indcollation::oid[])[u.n - 1]), '') order by u.n) as expressions,
         bool_or(a.attgenerated <> '') or exists (
           select from pg_depend d join pg_attribute g on g.attrelid = d.refobjid and g.attnum = d.refobjsubid
           where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid and d.refobjid = i.indrelid and d.refclassid = 'pg_class'::regclass
             and g.attgenerated <> '') as of_generated,
         -- as text, equal values may be several
         bool_and(u.reading <> 'text') as is_exact,
         bool_and(u.reading <> 'text' and coalesce(u.is_operator_harmless, false)) as is_excluding_harmless
  from read u left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.attnum and u.attnum > 0
  where u.indexrelid = i.indexrelid) k$sql$,
  '@index@', steep_repl._index_is_harmless()), '@function@', steep_repl._function_is_harmless()), '@table@', table_oid);
comment on function steep_repl._merge_indexes_query(text) is 'private: a query for what keeps rows of a table apart, for either side';
