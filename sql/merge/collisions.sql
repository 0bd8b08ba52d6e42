-- Rows that a secondary unique index would refuse are found before anything is written.

-- Of one check, for one side: rows that are to come, and stand against rows of other keys.
create function steep_repl._merge_collisions(connection text, plan jsonb, side text, unique_check jsonb, out n bigint, out examples text[])
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_check constant int := 5000;
  actions constant text[] := case side when 'peer' then '{insert_remote,update_remote}' else '{insert_local,update_local}' end;
  by_category constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  numbers int[];
  incoming text;
  packed text[];
  filling text;
  found jsonb;
begin
  n := 0;
  for numbers in
    select array_agg(d.no order by d.no) from (
      select d.no, (row_number() over (order by d.no) - 1) / rows_of_check as n from pg_temp.steep_repl_differences d
      where coalesce(d.action, by_category ->> d.category) = any (actions)) d
    group by d.n
  loop
    filling := steep_repl._merge_keys_of(plan, numbers);
    incoming := steep_repl._fill(unique_check -> 'incoming', filling);
    if side = 'peer' then
      packed := steep_repl._merge_read_here(incoming)::text[];
    else
      perform steep_repl._peer_send(connection, steep_repl._by_keys(incoming));
      packed := steep_repl._peer_wait(connection, incoming)::text[];
    end if;
    continue when packed[1] is null;
    found := steep_repl._merge_query_by_keys(connection, side,
      (unique_check -> 'find' ->> 0) || filling || (unique_check -> 'find' ->> 1)
      || 'unnest(' || format('%L::int[]', packed[1])
      || (select string_agg(format(', %L::%s[]', packed[t.i + 1], t.type), '' order by t.i)
          from jsonb_array_elements_text(unique_check -> 'types') with ordinality t(type, i))
      || ')' || (unique_check -> 'find' ->> 2)) -> 0;
    n := n + (found ->> 'n')::bigint;
    if examples is null and found -> 'examples' <> 'null' then
      examples := array(select format('%s%s: keys %s', case side when 'peer' then 'peer: ' else '' end, unique_check ->> 'index', e)
                        from jsonb_array_elements_text(found -> 'examples') e);
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_collisions(text, jsonb, text, jsonb) is 'private: rows that one unique index would refuse';

create function steep_repl._merge_check_unique(connection text, out colliding bigint, out examples text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  target int;
  plan jsonb;
  unique_check record;
  found record;
  shown text[] := '{}';
begin
  colliding := 0;
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = target;
    for unique_check in
      select 'local' as side, c.value from jsonb_array_elements(plan -> 'merge' -> 'unique_local') c
      union all
      select 'peer', c.value from jsonb_array_elements(plan -> 'merge' -> 'unique_peer') c
    loop
      select * into found from steep_repl._merge_collisions(connection, plan, unique_check.side, unique_check.value);
      colliding := colliding + found.n;
      shown := shown || array(select format('table %s, %s', plan ->> 'table', e) from unnest(found.examples) e);
    end loop;
  end loop;
  examples := nullif(array_to_string(shown[1:20], '; '), '');
end
$fn$;
comment on function steep_repl._merge_check_unique(text) is 'private: counts rows that unique indexes would refuse, and shows some';
