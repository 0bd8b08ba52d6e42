-- Rows that others refer to are not deleted from under them: they would go along by a cascade that nobody has asked for, or be left
-- without a parent.

-- Rows that a query in the middle of a batch answers; none where it would run code of others, which a check at the end says, if nothing else.
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
    answer := '[]';
  end;
  if side = 'peer' then
    perform steep_repl._merge_command_there(connection, 'release savepoint steep_repl_question');
  end if;
  return answer;
end
$fn$;
comment on function steep_repl._merge_ask_in_batch(text, text, text) is 'private: rows that a query in the middle of a batch answers';

-- Of rows that are to be deleted, those that rows of other tables refer to now: children are deleted before their parents. Not where the
-- other table has yet to be deleted from, as in a circle.
create function steep_repl._merge_referred_to(connection text, todo steep_repl._merge_todo, numbers int[]) returns steep_repl._merge_put_off
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  side constant text := case when todo.is_here then 'local' else 'peer' end;
  result steep_repl._merge_put_off := ('{}'::int[], '{}'::text[]);
  foreign_key record;
  found int[];
begin
  for foreign_key in
    select f.name, f.child,
           (select string_agg(format('x.%I %s', p.name, p.match), ' and ') from unnest(f.parents, f.matches) p(name, match)) as condition
    from jsonb_to_recordset(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(todo.plan ->> 'table')))
      f(name text, is_parent boolean, child text, parents text[], matches text[])
    where f.is_parent and f.matches is not null and not exists (
      select from pg_temp.steep_repl_steps s join pg_temp.steep_repl_tables t using (no)
      where t.name = regexp_replace(f.child, '^only ', '') and s.action = todo.action and s.step > todo.step)
  loop
    found := array(
      select r.no from jsonb_to_recordset(steep_repl._merge_ask_in_batch(connection, side, format(
        'select distinct x."row number" as no from (select w.no as "row number", t.* from %s%s) x join %s t on %s', steep_repl._merge_keys_of(todo.plan, numbers),
        todo.plan -> 'merge' -> side -> 'stamps' ->> 1, foreign_key.child, foreign_key.condition))) r(no int)
      where r.no = any (numbers) and r.no <> all (result.numbers) order by r.no);
    result.numbers := result.numbers || found;
    result.reasons := result.reasons || array_fill(format('rows that stay refer to it by %s', foreign_key.name), array[cardinality(found)]);
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._merge_referred_to(text, steep_repl._merge_todo, int[]) is 'private: rows that are not deleted, since others refer to them';
