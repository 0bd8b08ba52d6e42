-- Foreign keys are checked after rows were written without them: where triggers did not fire. Those of tables of other owners are
-- read, too, so that nothing here runs code of theirs; a foreign key that cannot be checked so is named.

-- Foreign keys of a table (is_child), or that refer to it (is_parent): how a row that violates one is found. Where the requester
-- may not read both tables, condition is NULL. by_parent: how rows that refer to a parent are found by each of its columns, of
-- parent_types, if there is an index for that; matches: the same in any case, of a table that the requester may read. Of one that is not
-- valid, only rows that are written now have to satisfy it. parent_parts: the tables whose rows it refers to. of_part: those are some partitions of the table only, which rows leave when columns of part_columns change,
-- NULL where expressions say it. acts_on_delete, acts_on_update: what it does then to rows that refer. One that a
-- partition, or a table that this one is a partition of, has is one of the rows that are in both. Under PERIOD the ranges of the parents
-- have to cover that of the child together, as RI_FKey_check() has it.
create function steep_repl._merge_foreign_keys_query(table_name text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
with tree as (
  select t.relid::oid as oid from pg_partition_tree(%1$L::regclass) t union select %1$L::regclass::oid),
above as (
  select a.relid::oid as oid from pg_partition_ancestors(%1$L::regclass) a union select %1$L::regclass::oid),
k as (
  select c.*, coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false) as is_period, child.oid is not null as is_child, child.is_part,
         c.confrelid in (select oid from above union all select oid from tree) as is_parent
  from pg_constraint c
  left join (select a.oid, false as is_part from above a union all select t.oid, true from tree t where t.oid <> %1$L::regclass) child
    on child.oid = c.conrelid
  where c.contype = 'f' and c.conparentid = 0 and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true)
    and (child.oid is not null or c.confrelid in (select oid from above union all select oid from tree)))
select format('%%I of table %%s', k.conname, k.conrelid::regclass) as name, k.is_child, k.is_parent, k.convalidated as is_valid,
       array(select p.relid::oid from pg_partition_tree(k.confrelid) p union select k.confrelid) as parent_parts,
       k.confrelid <> %1$L::regclass and k.confrelid in (select oid from tree) as of_part,
       (select case when bool_or(a.n = 0) then null else json_agg(distinct b.attname) end
        from pg_partitioned_table p cross join unnest(p.partattrs::int2[]) a(n) left join pg_attribute b on b.attrelid = p.partrelid and b.attnum = a.n
        where p.partrelid in (select oid from tree)) as part_columns,
       k.confdeltype in ('c', 'n', 'd') as acts_on_delete, k.confupdtype in ('c', 'n', 'd') as acts_on_update,
       u.parent_types, case when not k.is_period and exists (
         select from pg_index i join pg_class x on x.oid = i.indexrelid join pg_am m on m.oid = x.relam
         where i.indrelid = k.conrelid and i.indisvalid and i.indpred is null and m.amname = 'btree'
           and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] <@ k.conkey and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
         then u.by_parent end as by_parent,
       case when not k.is_period and has_table_privilege(k.conrelid, 'SELECT') and u.casts_nothing then u.by_parent end as matches,
       case when (select r.relkind from pg_class r where r.oid = k.conrelid) = 'p' then '' else 'only ' end || k.conrelid::regclass as child, u.parents,
       to_jsonb(array(select a.relid::regclass::text from pg_partition_ancestors(k.conrelid) a union select k.conrelid::regclass::text)) as children,
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
         array_agg(b.attname::text) as parents, array_agg(format_type(bt.oid, -1)) as parent_types,
         array_agg(format('operator(%%I.%%s) t.%%I', n.nspname, o.oprname, a.attname)) as by_parent,
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
            hint = 'Merge the tables at both ends of that foreign key together, or mend the rows, then retry. A merge can be taken back with steep_repl.undo_merge().';
  end if;
  return true;
end
$fn$;
comment on function steep_repl._merge_check_foreign_key(text, text, text, text, boolean) is 'private: says that a foreign key does not hold any more; false if that is not known';

-- Rows of the current table that one of these things was done with, by the thousands.
create function steep_repl._merge_numbers_of(wanted text[]) returns setof int[]
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select array_agg(d.no order by d.no)
  from (select d.no, (row_number() over (order by d.no) - 1) / 5000 as n
        from pg_temp.steep_repl_differences d, pg_temp.steep_repl_merge m where coalesce(d.action, m.actions ->> d.category) = any (wanted)) d
  group by d.n
$fn$;
comment on function steep_repl._merge_numbers_of(text[]) is 'private: the rows of a table that were written in some way';

-- A foreign key that refers to rows that went away, by their keys: a join with the keys in w; NULL where there is no index for it,
-- or the keys are not what it refers to.
create function steep_repl._merge_children_of(plan jsonb, parents text[], parent_types text[], by_parent text[]) returns text
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select case when bool_and(k.i is not null and k.type = p.type) then string_agg(format('w.k%s %s', k.i, p.found), ' and ') end
  from unnest(parents, parent_types, by_parent) p(name, type, found)
  left join (select c.name, c.i, plan -> 'merge' -> 'same_keys' -> 'types' ->> (c.i::int - 1) as type
             from jsonb_array_elements_text(plan -> 'key') with ordinality c(name, i)) k using (name)
$fn$;
comment on function steep_repl._merge_children_of(jsonb, text[], text[], text[]) is 'private: how rows that refer to others are found by the keys of those';

-- Of the current table: foreign keys of the rows that were written; those that refer to it, where rows went away.
create function steep_repl._merge_check_table(connection text, side text, no int) returns setof text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  at_side constant text := case side when 'peer' then 'remote' else 'local' end;
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_plans p where p.no = _merge_check_table.no);
  key constant text[] := array(select jsonb_array_elements_text(plan -> 'key'));
  names constant text := (select string_agg('k' || i, ', ' order by i) from generate_series(1, cardinality(key)) i);
  written constant text[] := array['insert_' || at_side, 'update_' || at_side];
  foreign_key record;
  by_keys text;
  is_checked boolean;
  numbers int[];
begin
  for foreign_key in
    select * from jsonb_to_recordset(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(plan ->> 'table')))
      f(name text, is_child boolean, is_parent boolean, is_valid boolean, child text, parents text[], parent_types text[], by_parent text[], condition text, of_part boolean)
  loop
    is_checked := foreign_key.condition is not null;
    -- of one that is not valid, rows that are updated may have violated it before
    for numbers in
      select n from steep_repl._merge_numbers_of(case when foreign_key.is_valid then written else written[1:1] end) n where foreign_key.is_child
    loop
      is_checked := is_checked and steep_repl._merge_check_foreign_key(
        connection, side, foreign_key.name, 'select count(*) as n from ' || steep_repl._merge_keys_of(plan, numbers)
        || (plan -> 'merge' -> side -> 'stamps' ->> 1) || ' where ' || foreign_key.condition, true);
    end loop;
    by_keys := steep_repl._merge_children_of(plan, foreign_key.parents, foreign_key.parent_types, foreign_key.by_parent);
    for numbers in select n from steep_repl._merge_numbers_of(array['delete_' || at_side]) n where foreign_key.is_parent and by_keys is not null loop
      is_checked := is_checked and steep_repl._merge_check_foreign_key(
        connection, side, foreign_key.name, format('select count(*) as n from %s w(no, %s) join %s t on %s where %s',
          steep_repl._merge_keys_of(plan, numbers), names, foreign_key.child, by_keys, foreign_key.condition), true);
    end loop;
    if is_checked and foreign_key.is_parent and exists (
      select from steep_repl._merge_numbers_of(
        case when by_keys is null then array['delete_' || at_side] else '{}' end
        || case when foreign_key.parents <@ key and not foreign_key.of_part then '{}' else array['update_' || at_side] end)) then
      is_checked := foreign_key.is_valid and steep_repl._merge_check_foreign_key(
        connection, side, foreign_key.name, format('select count(*) as n from %s t where %s', foreign_key.child, foreign_key.condition), false);
    end if;
    if not is_checked or foreign_key.is_child and not foreign_key.is_valid and exists (select from steep_repl._merge_numbers_of(written[2:2])) then
      return next case side when 'peer' then 'peer: ' else '' end || foreign_key.name;
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_check_table(text, text, int) is 'private: checks the foreign keys that writes to a table may have broken; those that could not be checked';

-- Of some tables, all rows that have a part in their foreign keys.
create function steep_repl._merge_check_all_rows(connection text, side text, tables text[]) returns setof text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  foreign_key record;
begin
  for foreign_key in
    select distinct f.name, f.is_valid, f.child, f.condition
    from unnest(tables) t(name)
    cross join lateral jsonb_to_recordset(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(t.name)))
      f(name text, is_valid boolean, child text, condition text)
  loop
    if foreign_key.condition is null or not foreign_key.is_valid or not steep_repl._merge_check_foreign_key(
         connection, side, foreign_key.name, format('select count(*) as n from %s t where %s', foreign_key.child, foreign_key.condition), false) then
      return next case side when 'peer' then 'peer: ' else '' end || foreign_key.name;
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_check_all_rows(text, text, text[]) is 'private: checks foreign keys of tables; those that could not be checked';

-- Tables whose rows are all checked: which of them is without a parent now cannot be told from the rows that an undo has restored, nor
-- from those that an earlier attempt of a merge has written.
create function steep_repl._merge_checked_whole(side text) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  restored text[] := '{}';
begin
  if to_regclass('pg_temp.steep_repl_undo') is not null then
    restored := array(
      select t.name from pg_temp.steep_repl_tables t
      where exists (select from pg_temp.steep_repl_undo u where u.no = t.no
                    and u.action like '%' || case side when 'peer' then 'remote' else 'local' end));
  end if;
  return array(select unnest(restored) union select e.name from pg_temp.steep_repl_earlier e where e.side = _merge_checked_whole.side and e.no is not null);
end
$fn$;
comment on function steep_repl._merge_checked_whole(text) is 'private: tables of which all rows are checked for their foreign keys';

create function steep_repl._merge_not_checked(names text[]) returns text[]
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case when cardinality(names) > 0 then array[
  'foreign keys were not checked: ' || steep_repl._joined(array(select distinct n.name from unnest(names) n(name) order by 1))
  || ' (that takes a validated key, SELECT on both tables, columns of the same type or of built-in ones, and indexes that call no function of their owner''s)']
  else '{}' end;
comment on function steep_repl._merge_not_checked(text[]) is 'private: a warning about foreign keys, if there are any';

-- Where triggers did not fire, foreign keys have not been checked. Warnings about those that could not be.
create function steep_repl._merge_check_foreign_keys(connection text) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_off constant text := 'select current_setting(''session_replication_role'') as role';
  not_checked text[] := '{}';
  at text;
  target int;
begin
  foreach at in array array['local', 'peer'] loop
    continue when steep_repl._merge_query(connection, at, is_off) -> 0 ->> 'role' <> 'replica';
    for target in select t from steep_repl._merge_tables_with_rows() t loop
      perform steep_repl._merge_switch(target);
      not_checked := not_checked || array(select c from steep_repl._merge_check_table(connection, at, target) c);
    end loop;
    not_checked := not_checked || array(select c from steep_repl._merge_check_all_rows(connection, at, steep_repl._merge_checked_whole(at)) c)
      || array(select format('%sthose of table %s', case e.side when 'peer' then 'peer: ' else '' end, e.name)
               from pg_temp.steep_repl_earlier e where e.side = at and e.no is null);
  end loop;
  return steep_repl._merge_not_checked(not_checked);
end
$fn$;
comment on function steep_repl._merge_check_foreign_keys(text) is 'private: checks foreign keys that were not checked while rows were written; warnings';
