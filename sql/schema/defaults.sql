-- Defaults that no row can have, since they do not fit their columns. ADD COLUMN evaluates one, SET DEFAULT does not.

-- A condition on the expression of a default, pg_attrdef d: that evaluating it runs no code of a role that is neither a superuser
-- nor the caller, changes nothing, and gives the same for all rows. As steep_repl._index_is_harmless(), but for what is stable of
-- dates and times. What of domains is run is guarded.
create function steep_repl._default_is_harmless() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$not exists (
  select from regexp_matches(
    d.adbin::text,
    '[{]([A-Z_]+)|:(vartype|consttype|funcresulttype|opresulttype|resulttype|element_typeid|array_typeid|casetype|coalescetype|minmaxtype|funcid|opno) ([0-9]+)',
    'g') n(found)
  where n.found[1] <> all ('{CONST,FUNCEXPR,OPEXPR,DISTINCTEXPR,NULLIFEXPR,SCALARARRAYOPEXPR,RELABELTYPE,BOOLEXPR,NULLTEST,BOOLEANTEST,ARRAY,ARRAYEXPR,CASE,CASEEXPR,WHEN,CASEWHEN,CASETESTEXPR,COALESCE,COALESCEEXPR,MINMAX,MINMAXEXPR,COERCEVIAIO,ARRAYCOERCEEXPR,COERCETODOMAIN,SQLVALUEFUNCTION}')
     or n.found[3]::int8 >= 16384 and (n.found[2] in ('funcid', 'opno') or not exists (
       select from pg_type y join pg_roles r on r.oid = y.typowner where y.oid = n.found[3]::oid and (r.rolsuper or r.rolname = current_user)))
     or n.found[2] in ('funcid', 'opno') and not exists (
       select from pg_proc p
       where p.oid = case n.found[2] when 'funcid' then n.found[3]::oid
                                     else (select o.oprcode from pg_operator o where o.oid = n.found[3]::oid)::oid end
         and (p.provolatile = 'i' and not p.proargtypes::oid[] && array(
                select t.oid from pg_type t where t.typname ~ '^reg' or t.typname = 'oid' or t.typtype = 'p')
              or p.provolatile = 's' and p.proargtypes::oid[] <@ array(
                select t.oid from pg_type t where t.typcategory in ('D', 'T') and t.oid < 16384))))$sql$;
comment on function steep_repl._default_is_harmless() is 'private: a condition that a default d can be evaluated here';

-- Why a default does not fit its column, as it is assigned to it; NULL if it does, or if that cannot be said.
create function steep_repl._schema_default_error(type text, expression text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp @SET_READING@ as $fn$
begin
  execute format('do %L', format('declare v %s := %s; begin end', type, expression));
  return null;
exception when data_exception or integrity_constraint_violation then
  return sqlerrm;
when others then
  return null; -- the statement will say it
end
$fn$;
comment on function steep_repl._schema_default_error(text, text) is 'private: why no row can have a default';

-- The objects of a table here, with what is the matter with its defaults.
create function steep_repl._schema_with_default_errors(objects jsonb) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (
    select coalesce(jsonb_agg(
      case when o.value -> 'facts' -> 'evaluates' = 'true'
           then jsonb_set(o.value, '{facts,default_error}', coalesce(to_jsonb(steep_repl._schema_default_error(
             o.value -> 'facts' ->> 'type', o.value -> 'facts' ->> 'expression')), 'null'))
           else o.value end order by o.n), '[]')
    from jsonb_array_elements(objects) with ordinality o(value, n));
end
$fn$;
comment on function steep_repl._schema_with_default_errors(jsonb) is 'private: objects of a table with the defaults that no row can have';
