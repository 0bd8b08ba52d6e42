-- Rows that the side they go to has no place for are found before anything is written: no partition takes them, or a value of
-- theirs names what is not there.

-- Of a table, as json: what its partitions take ('partitions', null where it has none), and columns whose values are other ones in
-- another database ('values'). Bounds are compared by a digest. A value has a name of a database's objects in it (reg*), or a label
-- of an enum; 'type' is the one below any domain. What is harmless runs no code of a role that is neither a superuser nor the caller.
create function steep_repl._merge_places_query(table_oid text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace(replace(replace($sql$
with recursive
tree as (select p.relid::oid as oid, p.isleaf from pg_partition_tree(@table@) p),
bound as (
  select (select string_agg(pg_get_partkeydef(h.inhparent) || ' ' || pg_get_expr(c.relpartbound, c.oid), ' ' order by a.n)
          from pg_partition_ancestors(t.oid) with ordinality a(relid, n) join pg_class c on c.oid = a.relid
          join pg_inherits h on h.inhrelid = c.oid) as path
  from tree t where t.isleaf),
key as (select p.* from tree t join pg_partitioned_table p on p.partrelid = t.oid),
key_column as (
  select distinct a.attname from key k
  -- a column of the key depends on its table
  join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = k.partrelid and d.refclassid = 'pg_class'::regclass
                   and d.refobjid = k.partrelid and d.refobjsubid = 0 and d.deptype = 'i'
  join pg_attribute a on a.attrelid = k.partrelid and a.attnum = d.objsubid),
part(attnum, attname, type, is_inside) as (
  select a.attnum, a.attname, a.atttypid, false from pg_attribute a
  where a.attrelid = @table@ and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  union
  select p.attnum, p.attname, x.type, p.is_inside or x.is_inside
  from part p join pg_type t on t.oid = p.type
  cross join lateral (
    select t.typbasetype as type, false as is_inside where t.typtype = 'd'
    union all
    select t.typelem, true where t.typsubscript = 'array_subscript_handler'::regproc
    union all
    select r.rngsubtype, true from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
    union all
    select a.atttypid, true from pg_attribute a
    where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) x),
judged as (
  select p.attnum, p.attname, max(t.oid) filter (where not p.is_inside and t.typtype <> 'd') as below,
         bool_or(t.oid < 16384 and t.typname ~ '^reg' and t.typtype = 'b') as has_names,
         md5(string_agg(l.type || ' ' || l.labels, ',' order by l.type, l.labels)) as labels,
         bool_and(t.oid < 16384 or t.typtype in ('e', 'c') or t.typsubscript = 'array_subscript_handler'::regproc
                  or t.typtype = 'd' and not (p.is_inside and exists (select from pg_constraint k where k.contypid = t.oid and k.contype = 'c'))
                  or @is_trusted@) as is_harmless
  from part p join pg_type t on t.oid = p.type
  left join lateral (
    select t.typname collate "C" as type, string_agg(e.enumlabel::text, ',' order by e.enumlabel::text collate "C") collate "C" as labels
    from pg_enum e where e.enumtypid = t.oid having count(*) > 0) l on true
  group by p.attnum, p.attname)
select json_build_object(
  'partitions', (
    select json_build_object(
      'bounds', (select md5(coalesce(string_agg(b.path, chr(10) order by b.path collate "C"), '')) from bound b),
      'columns', (select coalesce(json_agg(k.attname order by k.attname collate "C"), '[]') from key_column k),
      'is_harmless', (
        select bool_and(@index@ and not exists (
                 select from unnest(k.partclass::oid[]) o(oid) join pg_opclass p using (oid) cross join lateral (select p.opcowner as typowner) t
                 where p.oid >= 16384 and not @is_trusted@))
        from key k cross join lateral (select k.partexprs as indexprs, null::pg_node_tree as indpred, k.partrelid as indrelid, k.partrelid as indexrelid) i)
        and not exists (
          select from key_column k join part p on p.attname = k.attname join pg_type t on t.oid = p.type
          where t.oid >= 16384 and t.typtype not in ('e', 'd') and not @is_trusted@))
    where exists (select from key)),
  'values', (
    select coalesce(json_agg(json_build_object('name', j.attname, 'type', format_type(j.below, -1), 'labels', j.labels,
                                               'has_names', j.has_names, 'is_harmless', j.is_harmless) order by j.attnum), '[]')
    from judged j where j.has_names or j.labels is not null),
  'tests_values', current_setting('server_version_num')::int >= 160000)$sql$,
  '@index@', steep_repl._index_is_harmless()),
  '@is_trusted@', $sql$(exists (select from pg_roles r where r.oid = t.typowner and (r.rolsuper or r.rolname = current_user))
                  and exists (select from pg_settings s where s.name = 'steep_repl.planning_timeout'))$sql$), '@table@', table_oid);
comment on function steep_repl._merge_places_query(text) is 'private: a query for what rows of a table must find at a side, for either side';

-- Numbers of rows, and why the side that they would go to has no place for them. The rows and the answer are settings meanwhile, since
-- the test is a command: the condition of partitions is of that side's catalogs, and never leaves it.
create function steep_repl._merge_test_places(connection text, side text, rows text, test text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  before constant text := 'set steep_repl_merge.rows = ' || quote_literal(rows);
  after constant text := 'reset steep_repl_merge.rows; reset steep_repl_merge.unfit';
  result text;
begin
  if side = 'peer' then
    perform steep_repl._peer_command(connection, before);
    perform steep_repl._peer_command(connection, test);
    result := steep_repl._peer_json(connection, 'select current_setting(''steep_repl_merge.unfit'') as unfit') -> 0 ->> 'unfit';
    perform steep_repl._peer_command(connection, after);
    return result::jsonb;
  end if;
  execute before;
  execute test;
  result := current_setting('steep_repl_merge.unfit');
  execute after;
  return result::jsonb;
end
$fn$;
comment on function steep_repl._merge_test_places(text, text, text, text) is 'private: which rows a side has no place for, and why';

-- Of one side: leaves rows that are to come in a round, and have no place there.
create function steep_repl._merge_leave_unfit(connection text, plan jsonb, side text, this_round int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_test constant int := 5000;
  actions constant text[] := case side when 'peer' then '{insert_remote,update_remote}' else '{insert_local,update_local}' end;
  by_category constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  test constant jsonb := plan -> 'merge' -> 'places' -> side;
  numbers int[];
  incoming text;
begin
  if test = 'null' then
    return;
  end if;
  for numbers in
    select array_agg(d.no order by d.no) from (
      select d.no, (row_number() over (order by d.no) - 1) / rows_of_test as n from pg_temp.steep_repl_differences d
      where coalesce(d.action, by_category ->> d.category) = any (actions) and d.round = this_round) d
    group by d.n
  loop
    incoming := steep_repl._fill(test -> 'incoming', steep_repl._merge_keys_of(plan, numbers));
    incoming := steep_repl._merge_read_incoming(connection, side, incoming);
    update pg_temp.steep_repl_differences d set action = 'left', reason = u.reason
    from jsonb_to_recordset(steep_repl._merge_test_places(connection, side, incoming, test ->> 'test')) u(no int, reason text)
    where d.no = u.no and d.no = any (numbers);
  end loop;
end
$fn$;
comment on function steep_repl._merge_leave_unfit(text, jsonb, text, int) is 'private: leaves rows that the side they would go to has no place for';

create function steep_repl._merge_leave_all_unfit(connection text, plan jsonb, this_round int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
begin
  perform steep_repl._merge_leave_unfit(connection, plan, 'local', this_round);
  perform steep_repl._merge_leave_unfit(connection, plan, 'peer', this_round);
end
$fn$;
comment on function steep_repl._merge_leave_all_unfit(text, jsonb, int) is 'private: leaves rows of a table that have no place where they would go to';

-- What of that is not found out before rows are written.
create function steep_repl._merge_untested() returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return steep_repl._joined(array(
    select u.value from pg_temp.steep_repl_plans p cross join lateral jsonb_array_elements_text(p.plan -> 'merge' -> 'places' -> 'untested') u
    order by p.no, u.value));
end
$fn$;
comment on function steep_repl._merge_untested() is 'private: what rows need at the other side and is not looked for before they are written';
