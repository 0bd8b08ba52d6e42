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

-- The unique indexes of a table, as json. A value is compared with others by the equality of its type below any domain, or
-- likewise after a cast from text, since arrays of arrays are not what they are made of; or as text, where the type is not
-- one of pg_catalog's: a cast to it, or its equality, may be code of whoever made it.
create function steep_repl._merge_indexes_query(table_oid text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace(replace($sql$
with recursive chain(type, base, typtype) as (
  select y.oid, y.oid, y.typtype from pg_type y
  where y.oid in (select a.atttypid from pg_index i join pg_attribute a on a.attrelid = i.indexrelid where i.indrelid = @table@)
  union all
  select c.type, y.oid, y.typtype from chain c join pg_type d on d.oid = c.base join pg_type y on y.oid = d.typbasetype where c.typtype = 'd'),
below as (select c.type, c.base from chain c where c.typtype <> 'd')
select coalesce(json_agg(json_build_object(
         'name', x.relname, 'columns', case when i.indexprs is null then k.columns end, 'expressions', k.expressions,
         'types', k.types, 'readings', k.readings, 'predicate', pg_get_expr(i.indpred, i.indrelid),
         'nulls_not_distinct', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false),
         'is_exact', k.is_exact, 'is_harmless', @is_harmless@)), '[]')
from pg_index i join pg_class x on x.oid = i.indexrelid
cross join lateral (
  select json_agg(a.attname order by u.n) as columns, json_agg(format_type(y.oid, -1) order by u.n) as types,
         json_agg(case when y.typnamespace <> 'pg_catalog'::regnamespace then 'text'
                       when y.typsubscript = 'array_subscript_handler'::regproc then 'cast' else 'value' end order by u.n) as readings,
         json_agg(pg_get_indexdef(i.indexrelid, u.n::int, false)
                  || coalesce((select format(' collate %I.%I', cn.nspname, co.collname) from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
                               where co.oid = (i.indcollation::oid[])[u.n - 1]), '') order by u.n) as expressions,
         -- the text of an enum says what it is; of other types from elsewhere, equal values may have several
         bool_and(y.typnamespace = 'pg_catalog'::regnamespace or y.typtype = 'e') as is_exact
  from unnest(i.indkey::int2[]) with ordinality u(attnum, n)
  join pg_attribute xa on xa.attrelid = i.indexrelid and xa.attnum = u.n
  join below b on b.type = xa.atttypid join pg_type y on y.oid = b.base
  left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.attnum and u.attnum > 0
  where u.n <= i.indnkeyatts) k
where i.indrelid = @table@ and i.indisunique and i.indisvalid$sql$, '@is_harmless@', steep_repl._index_is_harmless()), '@table@', table_oid);
comment on function steep_repl._merge_indexes_query(text) is 'private: a query for the unique indexes of a table, for either side';
