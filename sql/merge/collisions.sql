-- Rows that a secondary unique index, or an exclusion constraint, would refuse are found before anything is written; and those that only
-- seem to be in the way, since the same merge takes them away.

-- Rows that are to come to one side, by their numbers, and the rows of other keys that they stand against there.
create function steep_repl._merge_collision_table() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  -- holder: the number of that row, if the merge writes it too, and what it does with it
  create temp table steep_repl_collisions (
    index text not null, may_defer boolean not null, no int not null, key text[] not null, example text not null, holder int, holder_action text);
end
$fn$;
comment on function steep_repl._merge_collision_table() is 'private: makes the table of rows that stand in the way of others';

-- What is to come to a side is read on the other one, before any transaction that writes.
create function steep_repl._merge_read_incoming(connection text, side text, statement text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if side = 'peer' then
    return steep_repl._merge_read_here(statement);
  end if;
  perform steep_repl._peer_send(connection, steep_repl._by_keys(statement));
  return steep_repl._peer_wait(connection, statement);
end
$fn$;
comment on function steep_repl._merge_read_incoming(text, text, text) is 'private: reads on the other side what comes to one';

-- What rows that are to come have in an index, as arrays: of a merge as the other side has them, of an undo as their images do.
create function steep_repl._merge_incoming(connection text, side text, unique_check jsonb, filling text, numbers int[], is_undo boolean) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  incoming constant text := steep_repl._fill(unique_check -> 'incoming', filling);
  packed text;
begin
  if is_undo and unique_check -> 'restored' = 'null' then
    return '{}';
  elsif is_undo then
    execute unique_check ->> 'restored' into packed
    using (select string_agg(d.image::text, chr(10) order by d.no) from pg_temp.steep_repl_differences d where d.no = any (numbers)), numbers;
    return packed::text[];
  end if;
  return steep_repl._merge_read_incoming(connection, side, incoming)::text[];
end
$fn$;
comment on function steep_repl._merge_incoming(text, text, jsonb, text, int[], boolean) is 'private: values that come to an index';

-- Of one check, for one side.
create function steep_repl._merge_collisions(connection text, plan jsonb, side text, unique_check jsonb, is_undo boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  numbers int[];
  packed text[];
  filling text;
begin
  for numbers in
    select n from steep_repl._merge_numbers_of(case side when 'peer' then '{insert_remote,update_remote}'::text[] else '{insert_local,update_local}' end) n
  loop
    filling := steep_repl._merge_keys_of(plan, numbers);
    packed := steep_repl._merge_incoming(connection, side, unique_check, filling, numbers, is_undo);
    continue when packed[1] is null;
    insert into pg_temp.steep_repl_collisions (index, may_defer, no, key, example)
    select unique_check ->> 'index', (unique_check -> 'deferrable')::boolean, f.no, f.key, f.example
    from jsonb_to_recordset(steep_repl._merge_query_by_keys(connection, side,
      (unique_check -> 'find' ->> 0) || filling || (unique_check -> 'find' ->> 1)
      || 'unnest(' || format('%L::int[]', packed[1])
      || (select string_agg(format(', %L::%s[]', packed[t.i + 1], t.type), '' order by t.i)
          from jsonb_array_elements_text(unique_check -> 'types') with ordinality t(type, i))
      || ')' || (unique_check -> 'find' ->> 2))) f(no int, key text[], example text);
  end loop;
end
$fn$;
comment on function steep_repl._merge_collisions(text, jsonb, text, jsonb, boolean) is 'private: rows that one unique index would refuse';

-- Which of the rows in the way the merge writes on that side, too.
create function steep_repl._merge_find_holders(plan jsonb, side text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  actions constant text[] := case side when 'peer' then '{delete_remote,update_remote}' else '{delete_local,update_local}' end;
begin
  execute format($sql$
    update pg_temp.steep_repl_collisions c set holder = d.no, holder_action = d.action
    from (select d.no, d.key, coalesce(d.action, m.actions ->> d.category) as action
          from pg_temp.steep_repl_differences d, pg_temp.steep_repl_merge m) d
    where d.action = any ($1) and %s$sql$,
    (select string_agg(format('d.key[%1$s]::%2$s = c.key[%1$s]::%2$s', t.i, t.type), ' and ')
     from jsonb_array_elements_text(plan -> 'merge' -> 'same_keys' -> 'types') with ordinality t(type, i)))
  using actions;
end
$fn$;
comment on function steep_repl._merge_find_holders(jsonb, text) is 'private: rows in the way that are written, too';

-- Of the current table, for one side: how many rows are refused, and how many of these only because a constraint that is not
-- deferrable is checked row by row. The order in which the others are written is noted.
create function steep_repl._merge_check_side(
  connection text, plan jsonb, side text, is_undo boolean, out colliding bigint, out swapping bigint, out examples text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._merge_collisions(connection, plan, side, c, is_undo)
  from jsonb_array_elements(plan -> 'merge' -> case side when 'peer' then 'unique_peer' else 'unique_local' end) c;
  perform steep_repl._merge_find_holders(plan, side);
  with refused as (
    select c.*, c.holder is not null as swaps
    from pg_temp.steep_repl_collisions c join pg_temp.steep_repl_differences d using (no), pg_temp.steep_repl_merge m
    where c.holder is null
       or not c.may_defer and c.holder_action like 'update%' and coalesce(d.action, m.actions ->> d.category) like 'update%'),
  first as (
    select r.index, (array_agg(r.example order by r.no))[1:5] as examples from refused r group by r.index)
  select count(*), count(*) filter (where r.swaps),
         array(select format('table %s, %s%s: keys %s', plan ->> 'table', case side when 'peer' then 'peer: ' else '' end, f.index, e)
               from first f cross join lateral unnest(f.examples) e order by f.index)
  into colliding, swapping, examples from refused r;
  perform steep_repl._merge_order_partners(plan, side);
  truncate pg_temp.steep_repl_collisions;
end
$fn$;
comment on function steep_repl._merge_check_side(text, jsonb, text, boolean) is 'private: rows of a table that unique indexes of one side would refuse';

-- collisions: NULL where there are none.
create function steep_repl._merge_check_unique(connection text, is_undo boolean, out colliding bigint, out collisions json)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  target int;
  plan jsonb;
  side text;
  context text;
  found record;
  swapping bigint := 0;
  shown text[] := '{}';
begin
  colliding := 0;
  perform steep_repl._merge_collision_table();
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = target;
    continue when plan -> 'merge' -> 'unique_local' = '[]';
    foreach side in array '{local,peer}'::text[] loop
      begin
        found := steep_repl._merge_check_side(connection, plan, side, is_undo);
      exception when undefined_table or undefined_function or undefined_object then
        get stacked diagnostics context = pg_exception_context;
        perform steep_repl._merge_raise_missing(sqlstate, sqlerrm, context);
      end;
      colliding := colliding + found.colliding;
      swapping := swapping + found.swapping;
      shown := shown || found.examples;
    end loop;
  end loop;
  drop table pg_temp.steep_repl_collisions;
  collisions := case when colliding > 0 then json_build_object('swapping', swapping, 'examples', array_to_string(shown[1:20], '; ')) end;
end
$fn$;
comment on function steep_repl._merge_check_unique(text, boolean) is 'private: counts rows that unique indexes would refuse, and shows some';
