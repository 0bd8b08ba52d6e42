-- Sequences that give the columns of merged tables their values are moved past what was merged.

-- The sequences of a table, as json: those that its columns, or columns of its partitions alone, own, and those that their
-- defaults call. is_direct: the column's values are the sequence's own. A default that finds its sequence by a name that is
-- not in the catalogs has no name here.
create function steep_repl._merge_sequences_query(table_oid text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace($sql$
with recursive tree(oid) as (
  select p.relid::oid from pg_partition_tree(@table@) p union select @table@),
col as (
  select a.attrelid, a.attnum, a.attname, a.atttypid, pg_get_expr(d.adbin, d.adrelid) as expression, d.oid as default_oid
  from tree join pg_attribute a on a.attrelid = tree.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum and a.attgenerated = ''),
chain(type, base, typtype) as (
  select y.oid, y.oid, y.typtype from pg_type y where y.oid in (select c.atttypid from col c)
  union all
  select c.type, y.oid, y.typtype from chain c join pg_type d on d.oid = c.base join pg_type y on y.oid = d.typbasetype where c.typtype = 'd'),
used(attrelid, attnum, sequence, is_default) as (
  select c.attrelid, c.attnum, d.objid, false from col c join pg_depend d on d.refobjid = c.attrelid and d.refobjsubid = c.attnum
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
  union all
  select c.attrelid, c.attnum, d.refobjid, true from col c join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = c.default_oid
  where d.refclassid = 'pg_class'::regclass),
uses as (
  select u.attrelid, c.attname, s.oid as sequence, format('%I.%I', n.nspname, s.relname) as name,
         b.base = any ('{int2,int4,int8,numeric}'::regtype[])
         -- but for casts
         and (not bool_or(u.is_default) or c.expression ~ '^[(]*nextval[(]''([^'']|'''')*''::regclass[)][)]*(::[a-z ]+([(][0-9, ]+[)])?[)]*)*$') as is_direct
  from used u join col c using (attrelid, attnum) join chain b on b.type = c.atttypid and b.typtype <> 'd'
  join pg_class s on s.oid = u.sequence and s.relkind = 'S' join pg_namespace n on n.oid = s.relnamespace
  group by u.attrelid, c.attname, s.oid, n.nspname, s.relname, b.base, c.expression)
select coalesce(json_agg(json_build_object(
         'name', q.name, 'column', quote_ident(q.attname), 'is_direct', q.is_direct,
         'part', case when q.attrelid <> @table@ then case when r.relkind = 'p' then '' else 'only ' end || format('%I.%I', n.nspname, r.relname) end,
         'may', q.may)), '[]')
from (
  select u.attrelid, u.attname, u.name, u.is_direct,
         has_sequence_privilege(u.sequence, 'SELECT') and has_sequence_privilege(u.sequence, 'UPDATE') as may
  from uses u
  -- what a partition has from the table counts with that
  where u.attrelid = @table@ or not exists (select from uses o where o.attrelid = @table@ and o.sequence = u.sequence and o.attname = u.attname)
  union all
  select c.attrelid, c.attname, null, false, false from col c
  where c.expression ~ '(^|[^a-z_.])nextval[(]' and not exists (select from uses u where u.attrelid = c.attrelid and u.attname = c.attname)) q
join pg_class r on r.oid = q.attrelid join pg_namespace n on n.oid = r.relnamespace$sql$, '@table@', table_oid);
comment on function steep_repl._merge_sequences_query(text) is 'private: a query for the sequences of a table, for either side';

-- The greatest and the least value that a column of a sequence has.
create function steep_repl._merge_bounds(connection text, side text, column_name text, relation text, out highest text, out lowest text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  answer constant jsonb := steep_repl._merge_query(
    connection, side, format('select max(t.%1$s)::text as highest, min(t.%1$s)::text as lowest from %2$s t', column_name, relation)) -> 0;
begin
  highest := (answer ->> 'highest')::numeric::text;
  lowest := (answer ->> 'lowest')::numeric::text;
end
$fn$;
comment on function steep_repl._merge_bounds(text, text, text, text) is 'private: the greatest and the least value of a column';

-- Where an expression makes the column's value, that does not say which of its sequence it was made of. But what was merged was
-- made on the other side, by the sequence there.
create function steep_repl._merge_position(connection text, side text, sequence text, out last text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  last := (steep_repl._merge_query(connection, case side when 'peer' then 'local' else 'peer' end, format(
    'select pg_sequence_last_value(to_regclass(%L))::text as last', sequence)) -> 0 ->> 'last')::numeric::text;
end
$fn$;
comment on function steep_repl._merge_position(text, text, text) is 'private: where a sequence is on the other side; NULL where it has not begun';

-- Moves a sequence to the last value that its column has, if it is behind: by whole increments, so that nodes
-- which share out the values among them go on to do so. One that has not been called since it was restarted or set stands before the
-- value that it gives next.
create function steep_repl._merge_sequence_query(sequence text, highest text, lowest text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
select setval(s.seqrelid, least(greatest(v.next, s.seqmin), s.seqmax)::int8)::text as value
from (select q.*, p.last_value::numeric - case when p.is_called then 0 else q.seqincrement end as last,
             case when q.seqincrement > 0 then %2$L else %3$L end::numeric as bound
      from pg_sequence q, %1$s p where q.seqrelid = %1$L::regclass) s
cross join lateral (select s.last + ceil((s.bound - s.last) / s.seqincrement) * s.seqincrement as next) v
where (s.bound - s.last) * sign(s.seqincrement) > 0$sql$, sequence, highest, lowest);
comment on function steep_repl._merge_sequence_query(text, text, text) is 'private: a query that moves a sequence past the values of its column, for either side; NULL if there are none';

-- A warning about those that could not be moved, if there are any.
create function steep_repl._merge_move_sequences(connection text) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  sequence record;
  query text;
  not_moved text[] := '{}';
begin
  for sequence in
    select s.side, q.name, q."column", q.is_direct, q.may,
           coalesce(q.part, case p.plan -> 'merge' ->> 'relation' when 'p' then t.name else 'only ' || t.name end) as relation
    from (select no from steep_repl._merge_tables_with_rows() w(no) union select e.no from pg_temp.steep_repl_earlier e) r(no) join pg_temp.steep_repl_tables t using (no) join pg_temp.steep_repl_plans p using (no)
    cross join lateral (values ('local', t.local), ('peer', t.peer)) s(side, facts)
    cross join lateral jsonb_to_recordset(s.facts -> 'sequences') q(name text, "column" text, is_direct boolean, part text, may boolean)
  loop
    if not sequence.may then
      not_moved := not_moved || format('%s%s', case sequence.side when 'peer' then 'peer: ' else '' end, coalesce(
        sequence.name, format('that of column %s of table %s', sequence."column", regexp_replace(sequence.relation, '^only ', ''))));
    elsif sequence.is_direct then
      select steep_repl._merge_sequence_query(sequence.name, b.highest, b.lowest) into query
      from steep_repl._merge_bounds(connection, sequence.side, sequence."column", sequence.relation) b;
    else
      select steep_repl._merge_sequence_query(sequence.name, o.last, o.last) into query
      from steep_repl._merge_position(connection, sequence.side, sequence.name) o;
    end if;
    if sequence.may and query is not null then
      perform steep_repl._merge_query(connection, sequence.side, query);
    end if;
  end loop;
  update pg_temp.steep_repl_merge set has_moved_sequences = true;
  return case when cardinality(not_moved) > 0 then array[
    'sequences were not moved past what was merged: ' || steep_repl._joined(array(select distinct n.name from unnest(not_moved) n(name) order by 1))
    || ' (that takes SELECT and UPDATE on the sequence, and a default that names it as a constant)'] else '{}' end;
end
$fn$;
comment on function steep_repl._merge_move_sequences(text) is 'private: moves the sequences of merged tables on both sides past what was merged';
