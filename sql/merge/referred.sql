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

-- Foreign keys that a table is the parent of, and that an action there may concern: where rows are updated, those that would write on.
create function steep_repl._merge_referring(connection text, todo steep_repl._merge_todo, fires boolean) returns jsonb[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if todo.action not like 'delete%' and not fires then
    return '{}';
  end if;
  return array(
    select to_jsonb(f)
    from jsonb_to_recordset(steep_repl._merge_query(
           connection, case when todo.is_here then 'local' else 'peer' end, steep_repl._merge_foreign_keys_query(todo.plan ->> 'table')))
      f(name text, is_parent boolean, is_child boolean, acts_on_delete boolean, acts_on_update boolean, child text, parents text[],
        parent_parts oid[], matches text[], condition text)
    -- with PERIOD, it is checked at the end
    where f.is_parent and (f.matches is not null or f.condition is null) and case
      when todo.action not like 'delete%' then f.acts_on_update
      else (f.is_child or not exists (
          select from pg_temp.steep_repl_steps s join pg_temp.steep_repl_tables t using (no)
          where t.name = regexp_replace(f.child, '^only ', '') and s.action = todo.action and s.step > todo.step)) end);
end
$fn$;
comment on function steep_repl._merge_referring(text, steep_repl._merge_todo, boolean) is 'private: foreign keys that an action on a table may concern';

-- Rows whose columns that are referred to get other values.
create function steep_repl._merge_moving(columns jsonb, numbers int[], here text, there text) returns int[]
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select array(
    select h.no from steep_repl._merge_rows_of(here) h join steep_repl._merge_rows_of(there) t using (no)
    where h.no = any (numbers) and exists (
      select from jsonb_array_elements_text(columns) c(name)
      where not h.image ? c.name or not t.image ? c.name or h.image -> c.name is distinct from t.image -> c.name)
    order by h.no)
$fn$;
comment on function steep_repl._merge_moving(jsonb, int[], text, text) is 'private: rows that get other values in some columns';

-- Rows that are not written now, since others refer to them by some foreign key: children are deleted before their parents. Not of a table
-- that has yet to be deleted from, as in a circle; rows of the same table that later batches delete are no longer there when the next round
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
      asked := case when is_delete then numbers else steep_repl._merge_moving(foreign_key -> 'parents', numbers, here, there) end;
      continue when cardinality(asked) = 0;
      answer := case when foreign_key -> 'matches' <> 'null' then steep_repl._merge_ask_in_batch(
        connection, side, steep_repl._merge_referred_query(todo, foreign_key, asked, case when is_delete then result.numbers else '{}' end)) end;
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
