-- Foreign keys are checked after rows were written without them: where triggers did not fire. Those of tables of other owners are
-- read, too, so that nothing here runs code of theirs; a foreign key that cannot be checked so is named.

-- Foreign keys of a table (is_child), or that refer to it: how a row that violates one is found. Where the requester may
-- not read both tables, condition is NULL. One that a partition, or a table that this one is a partition of, has is one of the
-- rows that are in both. Under PERIOD the ranges of the parents have to cover that of the child together, as RI_FKey_check() has it.
create function steep_repl._merge_foreign_keys_query(table_name text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
with tree as (
  select t.relid::oid as oid from pg_partition_tree(%1$L::regclass) t union select %1$L::regclass::oid),
above as (
  select a.relid::oid as oid from pg_partition_ancestors(%1$L::regclass) a union select %1$L::regclass::oid),
k as (
  select c.*, coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) as is_period, child.oid is not null as is_child, child.is_part
  from pg_constraint c
  left join (select a.oid, false as is_part from above a union all select t.oid, true from tree t where t.oid <> %1$L::regclass) child
    on child.oid = c.conrelid
  where c.contype = 'f' and c.convalidated and c.conparentid = 0 and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
    and (child.oid is not null or c.confrelid in (select oid from above union all select oid from tree)))
select format('%%I of table %%s', k.conname, k.conrelid::regclass) as name, k.is_child,
       case when (select r.relkind from pg_class r where r.oid = k.conrelid) = 'p' then '' else 'only ' end || k.conrelid::regclass as child, u.parents,
       case when has_table_privilege(k.conrelid, 'SELECT') and has_table_privilege(k.confrelid, 'SELECT') and u.casts_nothing then
         concat(case when k.is_part then format('t.tableoid = any (%%L::oid[]) and ', array(
                  select p.relid::oid from pg_partition_tree(k.conrelid) p union select k.conrelid)) end,
                format('(%%s) and not exists (', case k.confmatchtype when 'f' then u.some else u.every end),
                format(case when k.is_period then
                         'select from (select p.%%3$s as r from %%1$s p where %%2$s and p.%%3$s operator(pg_catalog.&&) t.%%4$s) x'
                         ' having t.%%4$s operator(pg_catalog.<@) range_agg(x.r)'
                       else 'select from %%1$s p where %%2$s' end,
                       case when (select r.relkind from pg_class r where r.oid = k.confrelid) = 'r' then 'only ' else '' end || k.confrelid::regclass,
                       u.equal, u.parent_period, u.child_period), ')') end as condition
from k
cross join lateral (
  select string_agg(format('t.%%I is not null', a.attname), ' and ') as every,
         string_agg(format('t.%%I is not null', a.attname), ' or ') as some,
         string_agg(format('p.%%I operator(%%I.%%s) t.%%I', b.attname, n.nspname, o.oprname, a.attname), ' and ') filter (where not i.is_period) as equal,
         max(quote_ident(b.attname)) filter (where i.is_period) as parent_period,
         max(quote_ident(a.attname)) filter (where i.is_period) as child_period,
         array_agg(b.attname::text) as parents,
         -- else the comparison may be by a cast that whoever made a type has made
         bool_and(a.atttypid = b.atttypid
                  or at.typnamespace = 'pg_catalog'::regnamespace and bt.typnamespace = 'pg_catalog'::regnamespace) as casts_nothing
  from unnest(k.conkey, k.confkey, k.conpfeqop) with ordinality u(child, parent, op, n)
  cross join lateral (select k.is_period and u.n = cardinality(k.conkey) as is_period) i
  join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.child
  join pg_attribute b on b.attrelid = k.confrelid and b.attnum = u.parent
  join pg_type ta on ta.oid = a.atttypid join pg_type at on at.oid = coalesce(nullif(ta.typbasetype, 0), ta.oid)
  join pg_type tb on tb.oid = b.atttypid join pg_type bt on bt.oid = coalesce(nullif(tb.typbasetype, 0), tb.oid)
  join pg_operator o on o.oid = u.op join pg_namespace n on n.oid = o.oprnamespace) u$sql$, table_name);
comment on function steep_repl._merge_foreign_keys_query(text) is 'private: a query for the foreign keys that a table has a part in, for either side';

-- Whether a foreign key holds, by a query that counts what violates it; raises if it does not. False if that could not be asked.
create function steep_repl._merge_check_foreign_key(connection text, side text, name text, query text, is_by_keys boolean) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  n bigint;
begin
  begin
    n := case when is_by_keys then steep_repl._merge_query_by_keys(connection, side, query)
              else steep_repl._merge_query(connection, side, query) end -> 0 ->> 'n';
  exception when insufficient_privilege then
    return false;
  end;
  if n > 0 then
    raise exception '%merged rows violate foreign key %', case side when 'peer' then 'peer: ' else '' end, name
      using errcode = 'foreign_key_violation',
            detail = format('%s rows refer to none. Query: %s', n, left(query, 600)),
            hint = 'Merge the table that it refers to as well, or take the merge back with steep_repl.undo_merge().';
  end if;
  return true;
end
$fn$;
comment on function steep_repl._merge_check_foreign_key(text, text, text, text, boolean) is 'private: says that a foreign key does not hold any more; false if that is not known';

-- Of the current table: foreign keys of the rows that were written; all of those that refer to it, where rows went away.
create function steep_repl._merge_check_table(connection text, side text, no int) returns setof text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  rows_of_check constant int := 5000;
  at_side constant text := case side when 'peer' then 'remote' else 'local' end;
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_plans p where p.no = _merge_check_table.no);
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  foreign_key record;
  is_checked boolean;
  numbers int[];
begin
  for foreign_key in
    select * from jsonb_to_recordset(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(plan ->> 'table')))
      f(name text, is_child boolean, child text, parents text[], condition text)
  loop
    is_checked := foreign_key.condition is not null;
    for numbers in
      select array_agg(d.no order by d.no) from (
        select d.no, (row_number() over (order by d.no) - 1) / rows_of_check as n from pg_temp.steep_repl_differences d
        where foreign_key.is_child and coalesce(d.action, actions ->> d.category) in ('insert_' || at_side, 'update_' || at_side)) d
      group by d.n
    loop
      is_checked := is_checked and steep_repl._merge_check_foreign_key(
        connection, side, foreign_key.name, 'select count(*) as n from ' || steep_repl._merge_keys_of(plan, numbers)
        || (plan -> 'merge' -> side -> 'stamps' ->> 1) || ' where ' || foreign_key.condition, true);
    end loop;
    if is_checked and exists (
      select from pg_temp.steep_repl_differences d
      where coalesce(d.action, actions ->> d.category) = 'delete_' || at_side
         or coalesce(d.action, actions ->> d.category) = 'update_' || at_side
            and not foreign_key.parents <@ array(select jsonb_array_elements_text(plan -> 'key'))) then
      is_checked := steep_repl._merge_check_foreign_key(
        connection, side, foreign_key.name, format('select count(*) as n from %s t where %s', foreign_key.child, foreign_key.condition), false);
    end if;
    if not is_checked then
      return next case side when 'peer' then 'peer: ' else '' end || foreign_key.name;
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_check_table(text, text, int) is 'private: checks the foreign keys that writes to a table may have broken; those that could not be checked';

-- After an undo all rows of tables that have a part in a foreign key of what was restored are checked: which of them is
-- without a parent now cannot be told from the rows that were restored.
create function steep_repl._undo_check_foreign_keys(connection text, side text) returns setof text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  foreign_key record;
begin
  for foreign_key in
    select distinct f.name, f.child, f.condition
    from pg_temp.steep_repl_tables t
    cross join lateral jsonb_to_recordset(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(t.name)))
      f(name text, child text, condition text)
    where exists (select from pg_temp.steep_repl_undo u where u.no = t.no
                  and u.action like '%' || case side when 'peer' then 'remote' else 'local' end)
  loop
    if foreign_key.condition is null or not steep_repl._merge_check_foreign_key(
         connection, side, foreign_key.name, format('select count(*) as n from %s t where %s', foreign_key.child, foreign_key.condition), false) then
      return next case side when 'peer' then 'peer: ' else '' end || foreign_key.name;
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._undo_check_foreign_keys(text, text) is 'private: checks the foreign keys that an undo may have broken; those that could not be checked';

create function steep_repl._merge_not_checked(names text[]) returns text[]
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case when cardinality(names) > 0 then array[
  'foreign keys were not checked: ' || steep_repl._joined(array(select distinct n.name from unnest(names) n(name) order by 1))
  || ' (that takes SELECT on both tables, columns of the same type or of built-in ones, and indexes that call no function of their owner''s)']
  else '{}' end;
comment on function steep_repl._merge_not_checked(text[]) is 'private: a warning about foreign keys, if there are any';

-- Where triggers did not fire, foreign keys have not been checked. Warnings about those that could not be.
create function steep_repl._merge_check_foreign_keys(connection text) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_off constant text := 'select current_setting(''session_replication_role'') as role';
  not_checked text[] := '{}';
  side text;
  target int;
begin
  foreach side in array array['local', 'peer'] loop
    continue when steep_repl._merge_query(connection, side, is_off) -> 0 ->> 'role' <> 'replica';
    for target in select t from steep_repl._merge_tables_with_rows() t loop
      perform steep_repl._merge_switch(target);
      not_checked := not_checked || array(select c from steep_repl._merge_check_table(connection, side, target) c);
    end loop;
    if to_regclass('pg_temp.steep_repl_undo') is not null then
      not_checked := not_checked || array(select c from steep_repl._undo_check_foreign_keys(connection, side) c);
    end if;
  end loop;
  return steep_repl._merge_not_checked(not_checked);
end
$fn$;
comment on function steep_repl._merge_check_foreign_keys(text) is 'private: checks foreign keys that were not checked while rows were written; warnings';
