-- Rows to be deleted of tables that refer to themselves, or to each other in a circle. What refers to a row goes before it or with it,
-- and a row to which another one refers that stays is not deleted. So all of them are looked at together, before the first one goes.

-- Foreign keys to a table that is about to be deleted from, if rows that refer are deleted in the same step or a later one, and to the
-- tables of those. child: the number of the table whose rows refer, if some of them are yet to be deleted.
create function steep_repl._merge_delete_keys(connection text, step int) returns table (no int, child int, foreign_key jsonb)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  wanted constant record := (select s from pg_temp.steep_repl_steps s where s.step = _merge_delete_keys.step);
  side constant text := case when wanted.action like '%local' then 'local' else 'peer' end;
begin
  return query
    with recursive s as materialized (
      select s.no, min(s.step) as first from pg_temp.steep_repl_steps s
      where s.action = wanted.action and (s.turn < 0) = (wanted.turn < 0) and s.step >= wanted.step group by s.no),
    f as materialized (
      select s.no, s.first, c.no as child, c.first as child_first, k.foreign_key
      from s join pg_temp.steep_repl_tables t using (no)
      cross join lateral jsonb_array_elements(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(t.name))) k(foreign_key)
      left join lateral (
        select c.no, c.first from s c join pg_temp.steep_repl_tables u using (no)
        where k.foreign_key -> 'children' ? u.name) c on true
      where k.foreign_key -> 'is_parent' = 'true' and (k.foreign_key -> 'matches' <> 'null' or k.foreign_key -> 'condition' = 'null')),
    reached as (
      select f.no from f where f.no = wanted.no and f.child_first >= f.first
      union
      select f.child from reached r join f using (no) where f.child is not null)
    select f.no, f.child, f.foreign_key from f where f.no in (select r.no from reached r);
end
$fn$;
comment on function steep_repl._merge_delete_keys(text, int) is 'private: foreign keys by which rows that are to be deleted hang together';

-- The rows that a step of this round deletes from a table.
create function steep_repl._merge_going(action text) returns table (no int, key text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return query
    select d.no, d.key from pg_temp.steep_repl_differences d, pg_temp.steep_repl_merge m
    where coalesce(d.action, m.actions ->> d.category) = _merge_going.action
      and (d.action is null and m.round = 1 or d.action is not null and d.round = m.round);
end
$fn$;
comment on function steep_repl._merge_going(text) is 'private: the rows of the current table that are to be deleted';

-- Which rows refer to those of one table: from steep_repl_going to steep_repl_references. Where that may not be read, any row may, unless
-- PostgreSQL itself refuses to leave it without a parent.
create function steep_repl._merge_find_references(connection text, action text, target int, child int, foreign_key jsonb, fires boolean) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  todo steep_repl._merge_todo;
  numbers int[];
  answer jsonb;
begin
  todo.action := action;
  todo.is_here := action like '%local';
  select p.plan into todo.plan from pg_temp.steep_repl_plans p where p.no = target;
  for numbers in
    select array_agg(g.no order by g.no)
    from (select g.no, (row_number() over (order by g.no) - 1) / 5000 as n from pg_temp.steep_repl_going g where g.target = _merge_find_references.target) g
    group by g.n order by g.n loop
    answer := null;
    if foreign_key -> 'matches' <> 'null' then
      begin
        answer := steep_repl._merge_query_by_keys(connection, case when todo.is_here then 'local' else 'peer' end,
          steep_repl._merge_referring_query(todo, foreign_key, child, numbers));
      exception when insufficient_privilege then
        null;
      end;
    end if;
    if answer is not null then
      insert into pg_temp.steep_repl_references (target, no, child, key, reason)
      select target, r.no, child, r.key, format('rows that stay refer to it by %s', foreign_key ->> 'name')
      from jsonb_to_recordset(answer) r(no int, key text[]);
    elsif not fires or foreign_key -> 'acts_on_delete' <> 'false' then
      insert into pg_temp.steep_repl_references (target, no, reason)
      select target, n, format('rows that may not be read may refer to it by %s', foreign_key ->> 'name') from unnest(numbers) n;
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_find_references(text, text, int, int, jsonb, boolean) is 'private: finds the rows that refer to those that are to be deleted from a table';

-- Of tables in a circle, which one batch does not delete from together: rows that others have locked stay for now, and so must those that
-- they refer to. They are asked for once, beforehand: a lock that is taken later is found out when the foreign keys are checked.
create function steep_repl._merge_find_locked(connection text, action text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  is_here constant boolean := action like '%local';
  side constant text := case when is_here then 'local' else 'peer' end;
  chunk record;
  plan jsonb;
begin
  for chunk in
    select g.target, array_agg(g.no order by g.no) as numbers
    from (select g.target, g.no, (row_number() over (partition by g.target order by g.no) - 1) / 5000 as n from pg_temp.steep_repl_going g) g
    group by g.target, g.n loop
    perform steep_repl._merge_switch(chunk.target);
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = chunk.target;
    insert into pg_temp.steep_repl_references (target, no, reason)
    select chunk.target, n, 'locked by another transaction' from unnest(chunk.numbers) n
    where n not in (select r.no from steep_repl._merge_rows_of(steep_repl._merge_read_side(
      connection, is_here, steep_repl._fill(plan -> 'merge' -> side -> 'lock_free', steep_repl._merge_keys_of(plan, chunk.numbers)))) r);
  end loop;
end
$fn$;
comment on function steep_repl._merge_find_locked(text, text) is 'private: finds rows that are to be deleted and that others have locked';

-- Rows to which one refers that stays, and those to which they refer: they are looked at again in the next round.
create function steep_repl._merge_keep_referred() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  table_no int;
begin
  create temp table steep_repl_staying as
    with recursive stays as (
      select r.target, r.no from pg_temp.steep_repl_references r where r.child_no is null
      union
      select r.target, r.no from stays s join pg_temp.steep_repl_references r on r.child = s.target and r.child_no = s.no)
    select s.target, s.no, min(r.reason) as reason
    from stays s join pg_temp.steep_repl_references r using (target, no)
    where r.child_no is null or (r.child, r.child_no) in (select x.target, x.no from stays x) group by 1, 2;
  for table_no in select distinct s.target from pg_temp.steep_repl_staying s loop
    perform steep_repl._merge_switch(table_no);
    update pg_temp.steep_repl_differences d set action = 'again', reason = s.reason
    from pg_temp.steep_repl_staying s where s.target = table_no and s.no = d.no;
  end loop;
  drop table pg_temp.steep_repl_staying;
end
$fn$;
comment on function steep_repl._merge_keep_referred() is 'private: puts off rows to which others refer that stay';

-- The rows 1 to n so that whatever refers to another one comes before it; those that refer to each other in a ring, however far around,
-- stand together and have the same label, that of a row alone is its own number. Rows of children refer to parents, in the order of
-- children. This is Tarjan's algorithm with a stack of its own: a ring is found after all that it refers to, so that the order is the
-- reverse of that in which rings are found.
create function steep_repl._merge_children_first(parents int[], children int[], n int, out result int[], out labels int[])
language plpgsql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  edges constant int := cardinality(parents);
  nothing constant int[] := array_fill(0, array[n]);
  -- where the references of each row begin, and how far they have been followed
  next_edge int[] := nothing;
  seen int[] := nothing;
  lowest int[] := nothing;
  -- rows whose ring is not known yet, and the way to the current one
  waiting int[] := nothing;
  way int[] := nothing;
  n_seen int := 0;
  n_waiting int := 0;
  n_way int := 0;
  place int := n;
  i int;
  edge int;
  row_no int;
  parent int;
begin
  result := nothing;
  labels := nothing;
  for i in reverse edges..1 loop
    next_edge[children[i]] := i;
  end loop;
  for i in 1..n loop
    continue when seen[i] > 0;
    n_way := 1;
    way[1] := i;
    while n_way > 0 loop
      row_no := way[n_way];
      if seen[row_no] = 0 then
        n_seen := n_seen + 1;
        seen[row_no] := n_seen;
        lowest[row_no] := n_seen;
        n_waiting := n_waiting + 1;
        waiting[n_waiting] := row_no;
      end if;
      edge := next_edge[row_no];
      if edge between 1 and edges and children[edge] = row_no then
        next_edge[row_no] := edge + 1;
        parent := parents[edge];
        if seen[parent] = 0 then
          n_way := n_way + 1;
          way[n_way] := parent;
        elsif labels[parent] = 0 and seen[parent] < lowest[row_no] then
          lowest[row_no] := seen[parent];
        end if;
        continue;
      end if;
      n_way := n_way - 1;
      if n_way > 0 and lowest[row_no] < lowest[way[n_way]] then
        lowest[way[n_way]] := lowest[row_no];
      end if;
      if lowest[row_no] = seen[row_no] then
        loop
          parent := waiting[n_waiting];
          n_waiting := n_waiting - 1;
          labels[parent] := row_no;
          result[place] := parent;
          place := place - 1;
          exit when parent = row_no;
        end loop;
      end if;
    end loop;
  end loop;
end
$fn$;
comment on function steep_repl._merge_children_first(int[], int[], int) is 'private: an order in which what refers to a row comes before it, and what refers to each other in a ring';

-- Rows of a table that refer to each other get numbers in the order in which they can be deleted: batches take them by their numbers.
-- Those of a ring are partners, which one batch takes. Where triggers fire, a ring can be inserted again only while it fits into the
-- first batch of a step: greater ones are left, or an undo could not bring them back.
create function steep_repl._merge_number_deletes(target int, fires boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  most constant int := case when fires then 50 else 100000 end;
  numbers int[];
  parents int[];
  children int[];
  ordered record;
begin
  create temp table steep_repl_own as
    select distinct r.no as parent, r.child_no as child from pg_temp.steep_repl_references r
    where r.target = _merge_number_deletes.target and r.child = r.target and r.child_no <> r.no;
  select array_agg(u.no order by u.no) into numbers
  from (select o.parent as no from pg_temp.steep_repl_own o union select o.child from pg_temp.steep_repl_own o) u;
  if numbers is not null then
    with n as materialized (select u.no, u.i from unnest(numbers) with ordinality u(no, i))
    select array_agg(p.i order by c.i), array_agg(c.i order by c.i) into parents, children
    from pg_temp.steep_repl_own o join n p on p.no = o.parent join n c on c.no = o.child;
    select * into ordered from steep_repl._merge_children_first(parents, children, cardinality(numbers));
    perform steep_repl._merge_switch(target);
    update pg_temp.steep_repl_differences d
    set no = g.no, partner = case when g.n between 2 and most then g.first end,
        action = case when g.n > most then 'left' else d.action end,
        reason = case when g.n > most then format('one of %s rows that refer to each other in a ring, more than are deleted in one transaction', g.n) else d.reason end
    from (select numbers[o.i] as old, l.last + o.place as no, l.last + min(o.place) over (partition by r.label) as first, count(*) over (partition by r.label) as n
          from unnest(ordered.result) with ordinality o(i, place)
          join unnest(ordered.labels) with ordinality r(label, i) on r.i = o.i,
          (select max(x.no) as last from pg_temp.steep_repl_differences x) l) g
    where d.no = g.old and d.partner is null;
  end if;
  drop table pg_temp.steep_repl_own;
end
$fn$;
comment on function steep_repl._merge_number_deletes(int, boolean) is 'private: orders the deletes of a table that refers to itself';

-- Before the first batch of a step.
create function steep_repl._merge_order_deletes(connection text, step int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  this_action constant text := (select s.action from pg_temp.steep_repl_steps s where s.step = _merge_order_deletes.step);
  fires constant boolean := (select case when this_action like '%local' then m.fires_here else m.fires_there end from pg_temp.steep_repl_merge m);
  foreign_key record;
  table_no int;
begin
  create temp table steep_repl_delete_keys as select k.* from steep_repl._merge_delete_keys(connection, step) k;
  create temp table steep_repl_going (target int, no int, key text[]);
  create temp table steep_repl_references (target int, no int, child int, key text[], child_no int, reason text);
  for table_no in select distinct k.no from pg_temp.steep_repl_delete_keys k loop
    perform steep_repl._merge_switch(table_no);
    insert into pg_temp.steep_repl_going select table_no, g.no, g.key from steep_repl._merge_going(this_action) g;
  end loop;
  for foreign_key in select k.* from pg_temp.steep_repl_delete_keys k order by k.no loop
    perform steep_repl._merge_switch(foreign_key.no);
    perform steep_repl._merge_find_references(connection, this_action, foreign_key.no, foreign_key.child, foreign_key.foreign_key, fires);
  end loop;
  if (select count(distinct k.no) > 1 from pg_temp.steep_repl_delete_keys k) then
    perform steep_repl._merge_find_locked(connection, this_action);
  end if;
  analyze pg_temp.steep_repl_going, pg_temp.steep_repl_references;
  update pg_temp.steep_repl_references r set child_no = g.no
  from pg_temp.steep_repl_going g where g.target = r.child and g.key = r.key;
  perform steep_repl._merge_keep_referred();
  for table_no in select distinct k.no from pg_temp.steep_repl_delete_keys k where k.child = k.no loop
    perform steep_repl._merge_number_deletes(table_no, fires);
  end loop;
  update pg_temp.steep_repl_steps s set is_ordered = true
  where s.action = this_action
    and (s.step = _merge_order_deletes.step or s.no in (select k.no from pg_temp.steep_repl_delete_keys k)
         and (s.turn < 0) = (select x.turn < 0 from pg_temp.steep_repl_steps x where x.step = _merge_order_deletes.step));
  drop table pg_temp.steep_repl_delete_keys, pg_temp.steep_repl_going, pg_temp.steep_repl_references;
end
$fn$;
comment on function steep_repl._merge_order_deletes(text, int) is 'private: orders the deletes of tables that refer to themselves or to each other in a circle';
