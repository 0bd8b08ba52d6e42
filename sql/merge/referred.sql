-- Rows that others refer to are not deleted from under them: they would go along by a cascade that nobody has asked for, or be left
-- without a parent.

-- Rows that a query in the middle of a batch answers; NULL where it would run code of others, or may not read them.
create function steep_repl._merge_ask_in_batch(connection text, side text, query text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer jsonb;
begin
  if side = 'peer' then
    perform steep_repl._merge_command_there(connection, 'savepoint steep_repl_question');
  end if;
  begin
    answer := steep_repl._merge_query_by_keys(connection, side, query);
  exception when insufficient_privilege then
    if side = 'peer' then
      perform steep_repl._merge_command_there(connection, 'rollback to savepoint steep_repl_question');
    end if;
    answer := null;
  end;
  if side = 'peer' then
    perform steep_repl._merge_command_there(connection, 'release savepoint steep_repl_question');
  end if;
  return answer;
end
$fn$;
comment on function steep_repl._merge_ask_in_batch(text, text, text) is 'private: rows that a query in the middle of a batch answers';

-- Of rows that are to be deleted, those that a foreign key refers to from rows that stay: none of this batch, or of those in staying.
create function steep_repl._merge_referred_query(todo steep_repl._merge_todo, foreign_key jsonb, numbers int[], staying int[]) returns text
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
return (
  select format($sql$
    with recursive x as materialized (
      select w.no, t.tableoid as part, t.ctid as place, %s from %s%s where t.tableoid = any (array(select jsonb_array_elements_text(%L)::oid))),
    e as materialized (
      select distinct x.no, y.no as child from x join %s t on %s left join x y on y.part = t.tableoid and y.place = t.ctid),
    s as (select e.no from e where e.child is null or e.child = any (%L::int[]) union select e.no from e join s on s.no = e.child)
    select s.no from s$sql$,
    string_agg(format('t.%I as p%s', p.name, p.i), ', '), steep_repl._merge_keys_of(todo.plan, numbers),
    todo.plan -> 'merge' -> case when todo.is_here then 'local' else 'peer' end -> 'stamps' ->> 1, foreign_key -> 'parent_parts',
    foreign_key ->> 'child', string_agg(format('x.p%s %s', p.i, p.match), ' and '), staying)
  from rows from (jsonb_array_elements_text(foreign_key -> 'parents'), jsonb_array_elements_text(foreign_key -> 'matches'))
    with ordinality p(name, match, i));
comment on function steep_repl._merge_referred_query(steep_repl._merge_todo, jsonb, int[], int[]) is 'private: a query for rows that others refer to which stay';

-- Foreign keys that a table is the parent of, and that an action there may concern: where rows are updated, those that would write on,
-- and those to a partition, which a row that leaves it is deleted from. deleted_later: the table whose rows refer, if some of them are to
-- be deleted later, as in a circle.
create function steep_repl._merge_referring(connection text, todo steep_repl._merge_todo, fires boolean) returns jsonb[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if todo.action like 'insert%' then
    return '{}';
  end if;
  return array(
    select to_jsonb(f) || jsonb_build_object('deleted_later', case when not f.is_child then (
      select min(s.no) from pg_temp.steep_repl_steps s join pg_temp.steep_repl_tables t using (no)
      where f.children ? t.name and s.action = todo.action and s.step > todo.step) end)
    from jsonb_to_recordset(steep_repl._merge_query(
           connection, case when todo.is_here then 'local' else 'peer' end, steep_repl._merge_foreign_keys_query(todo.plan ->> 'table')))
      f(name text, is_parent boolean, is_child boolean, acts_on_delete boolean, acts_on_update boolean, child text, children jsonb, parents text[],
        parent_parts oid[], matches text[], condition text, of_part boolean, part_columns text[])
    -- with PERIOD, it is checked at the end
    where f.is_parent and (f.matches is not null or f.condition is null) and (
      todo.action like 'delete%' or fires and f.acts_on_update or f.of_part and (f.acts_on_delete or not fires)));
end
$fn$;
comment on function steep_repl._merge_referring(text, steep_repl._merge_todo, boolean) is 'private: foreign keys that an action on a table may concern';

-- Columns by whose change a row is no longer what a foreign key refers to; NULL: any.
create function steep_repl._merge_moving_columns(foreign_key jsonb) returns jsonb
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return case when foreign_key -> 'of_part' = 'false' then foreign_key -> 'parents'
            when foreign_key -> 'part_columns' <> 'null' then (foreign_key -> 'parents') || (foreign_key -> 'part_columns') end;
comment on function steep_repl._merge_moving_columns(jsonb) is 'private: columns by whose change a row may leave a foreign key''s parents';

-- Rows whose columns that are referred to get other values.
create function steep_repl._merge_moving(columns jsonb, numbers int[], here text, there text) returns int[]
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select array(
    select h.no from steep_repl._merge_rows_of(here) h join steep_repl._merge_rows_of(there) t using (no)
    where h.no = any (numbers) and (columns is null or exists (
      select from jsonb_array_elements_text(columns) c(name)
      where not h.image ? c.name or not t.image ? c.name or h.image -> c.name is distinct from t.image -> c.name))
    order by h.no)
$fn$;
comment on function steep_repl._merge_moving(jsonb, int[], text, text) is 'private: rows that get other values in some columns';

-- The same with the keys of the rows that refer, where some of these are to be deleted, too, from the table of that number; else with NULL.
create function steep_repl._merge_referring_query(todo steep_repl._merge_todo, foreign_key jsonb, child int, numbers int[]) returns text
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  key constant jsonb := (select p.plan -> 'key' from pg_temp.steep_repl_plans p where p.no = child);
begin
  return (
    select format('with x as materialized (select w.no, %s from %s%s where t.tableoid = any (array(select jsonb_array_elements_text(%L)::oid)))'
                  ' select distinct x.no, %s as key from x join %s t on %s',
      string_agg(format('t.%I as p%s', p.name, p.i), ', '), steep_repl._merge_keys_of(todo.plan, numbers),
      todo.plan -> 'merge' -> case when todo.is_here then 'local' else 'peer' end -> 'stamps' ->> 1, foreign_key -> 'parent_parts',
      coalesce((select format('array[%s]', string_agg(format('t.%I::text', k.name), ', ' order by k.i)) from jsonb_array_elements_text(key) with ordinality k(name, i)
                having count(*) > 0), 'null::text[]'),
      foreign_key ->> 'child', string_agg(format('x.p%s %s', p.i, p.match), ' and '))
    from rows from (jsonb_array_elements_text(foreign_key -> 'parents'), jsonb_array_elements_text(foreign_key -> 'matches'))
      with ordinality p(name, match, i));
end
$fn$;
comment on function steep_repl._merge_referring_query(steep_repl._merge_todo, jsonb, int, int[]) is 'private: a query for rows that others refer to, with the keys of those';

-- Of its answer, rows that others refer to which are not to be deleted themselves.
create function steep_repl._merge_referred_by_staying(answer jsonb, no int, action text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  result jsonb;
begin
  execute format($sql$
    select coalesce(jsonb_agg(distinct jsonb_build_object('no', r.no)), '[]') from jsonb_to_recordset($1) r(no int, key text[])
    where not exists (select from pg_temp.steep_repl_differences_%s d, pg_temp.steep_repl_merge m
                      where d.key = r.key and coalesce(d.action, m.actions ->> d.category) = $2)$sql$, no)
  into result using answer, action;
  return result;
end
$fn$;
comment on function steep_repl._merge_referred_by_staying(jsonb, int, text) is 'private: rows that others refer to which stay';

-- Rows that are not written now, since others refer to them by some foreign key: children are deleted before their parents. Not by rows
-- that are to be deleted later, as in a circle; rows of the same table that later batches delete are no longer there when the next round
-- comes to their parents. Nor where rows that refer cannot be seen, unless PostgreSQL itself refuses to leave them without a parent.
create function steep_repl._merge_referred_to(connection text, todo steep_repl._merge_todo, numbers int[], here text, there text)
returns steep_repl._merge_put_off
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  side constant text := case when todo.is_here then 'local' else 'peer' end;
  is_delete constant boolean := todo.action like 'delete%';
  fires constant boolean := (select case when todo.is_here then m.fires_here else m.fires_there end from pg_temp.steep_repl_merge m);
  foreign_keys constant jsonb[] := steep_repl._merge_referring(connection, todo, fires);
  result steep_repl._merge_put_off := ('{}'::int[], '{}'::text[]);
  foreign_key jsonb;
  known int;
  asked int[];
  answer jsonb;
  found int[];
begin
  -- a row that stays may refer to others of the batch by another foreign key
  while known is distinct from cardinality(result.numbers) and cardinality(foreign_keys) > 0 loop
    known := cardinality(result.numbers);
    foreach foreign_key in array foreign_keys loop
      asked := case when is_delete then numbers else steep_repl._merge_moving(steep_repl._merge_moving_columns(foreign_key), numbers, here, there) end;
      continue when cardinality(asked) = 0;
      answer := case when foreign_key -> 'matches' <> 'null' then steep_repl._merge_ask_in_batch(connection, side, case
        when is_delete and foreign_key -> 'deleted_later' <> 'null' then steep_repl._merge_referring_query(todo, foreign_key, (foreign_key ->> 'deleted_later')::int, asked)
        else steep_repl._merge_referred_query(todo, foreign_key, asked, case when is_delete then result.numbers else '{}' end) end) end;
      if answer is not null and is_delete and foreign_key -> 'deleted_later' <> 'null' then
        answer := steep_repl._merge_referred_by_staying(answer, (foreign_key ->> 'deleted_later')::int, todo.action);
      end if;
      continue when answer is null and fires and is_delete and foreign_key -> 'acts_on_delete' = 'false';
      found := case when answer is null then asked else array(select r.no from jsonb_to_recordset(answer) r(no int) where r.no = any (asked)) end;
      found := array(select n from unnest(found) n where n <> all (result.numbers) order by n);
      result.numbers := result.numbers || found;
      result.reasons := result.reasons || array_fill(
        format(case when answer is null then 'rows that may not be read may refer to it by %s'
                    else 'rows that stay refer to it by %s' end, foreign_key ->> 'name'), array[cardinality(found)]);
    end loop;
    exit when cardinality(foreign_keys) = 1;
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._merge_referred_to(text, steep_repl._merge_todo, int[], text, text) is 'private: rows that are not written, since others refer to them';
