-- The order in which rows are written that take each other's unique values. What a row is to get may belong to another one that
-- the same merge takes away: then it is written after that, or together with it. Rows that are updated and take each other's values
-- are partners. They are written in one transaction, which a deferrable constraint allows.

-- Turns of the steps of one table: deletes that make room; all else; updates of partners; inserts that updates make room for.
create function steep_repl._merge_order_partners(plan jsonb, side text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  -- where triggers fire, such a delete could cascade to rows that have yet to be written: it stays the last thing, and the next round goes on
  deletes_first constant boolean := coalesce((plan -> 'merge' -> side -> 'skips_triggers')::boolean, false);
begin
  if not exists (select from pg_temp.steep_repl_collisions c where c.holder is not null) then
    return;
  end if;
  update pg_temp.steep_repl_differences d set turn = -1
  from pg_temp.steep_repl_collisions c where deletes_first and d.no = c.holder and c.holder_action like 'delete%';
  update pg_temp.steep_repl_differences d set turn = 2
  from pg_temp.steep_repl_collisions c, pg_temp.steep_repl_merge m
  where d.no = c.no and c.holder_action like 'update%' and coalesce(d.action, m.actions ->> d.category) like 'insert%';
  perform steep_repl._merge_join_partners();
end
$fn$;
comment on function steep_repl._merge_order_partners(jsonb, text) is 'private: orders rows that take each other''s unique values';

-- Those that are connected, however far apart, get one label: in each turn the greater label of two neighbours gives way to the smaller
-- one, and all follow, so that the number of labels at least halves.
create function steep_repl._merge_join_partners() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  create temp table steep_repl_pairs as
    select distinct c.no as one, c.holder as other
    from pg_temp.steep_repl_collisions c join pg_temp.steep_repl_differences d using (no), pg_temp.steep_repl_merge m
    where c.holder_action like 'update%' and coalesce(d.action, m.actions ->> d.category) like 'update%';
  create temp table steep_repl_partners as
    select u.no, u.no as label from (select p.one from pg_temp.steep_repl_pairs p union select p.other from pg_temp.steep_repl_pairs p) u(no);
  alter table pg_temp.steep_repl_partners add primary key (no);
  loop
    update pg_temp.steep_repl_partners p set label = n.smallest
    from (select greatest(a.label, b.label) as root, min(least(a.label, b.label)) as smallest
          from pg_temp.steep_repl_pairs x join pg_temp.steep_repl_partners a on a.no = x.one join pg_temp.steep_repl_partners b on b.no = x.other
          where a.label <> b.label group by 1) n
    where p.no = n.root;
    exit when not found;
    loop
      update pg_temp.steep_repl_partners p set label = r.label from pg_temp.steep_repl_partners r where r.no = p.label and r.label <> p.label;
      exit when not found;
    end loop;
  end loop;
  perform steep_repl._merge_number_partners();
  drop table pg_temp.steep_repl_pairs, pg_temp.steep_repl_partners;
end
$fn$;
comment on function steep_repl._merge_join_partners() is 'private: finds rows that have to be written together';

-- Partners get numbers one after the other, for a batch takes rows in the order of their numbers. More of them than one text
-- of their images may hold are left.
create function steep_repl._merge_number_partners() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  most constant int := 100000;
begin
  update pg_temp.steep_repl_differences d
  set no = o.no, turn = 1, partner = o.first, action = case when o.n > most then 'left' else d.action end,
      reason = case when o.n > most then format('one of %s rows that take each other''s unique values, more than are written in one transaction', o.n) end
  from (select n.old, n.no, min(n.no) over (partition by n.label) as first, count(*) over (partition by n.label) as n
        from (select p.no as old, p.label, l.last + row_number() over (order by p.label, p.no) as no
              from pg_temp.steep_repl_partners p, (select max(x.no) as last from pg_temp.steep_repl_differences x) l) n) o
  where d.no = o.old;
end
$fn$;
comment on function steep_repl._merge_number_partners() is 'private: puts rows together that have to be written together';

-- The number after which a batch ends that holds so many rows of partners, or as many more as the last of them has partners; NULL: of
-- other rows, as many as it holds.
create function steep_repl._merge_last_partner(step int, after int, size int) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (
    select max(d.no) from pg_temp.steep_repl_differences d
    where d.partner = (
      select max(x.partner)
      from (select d.partner from pg_temp.steep_repl_steps s, pg_temp.steep_repl_differences d, pg_temp.steep_repl_merge m
            where s.step = _merge_last_partner.step and d.turn = s.turn and d.no > _merge_last_partner.after
              and (d.action is null and d.category = s.category or s.category is null and d.action = s.action and d.round = m.round)
            order by d.no limit _merge_last_partner.size) x));
end
$fn$;
comment on function steep_repl._merge_last_partner(int, int, int) is 'private: where a batch of partners ends';

-- Where a part of a batch is divided, so that no partners come apart: the place of the last row of its first half; NULL: nowhere.
create function steep_repl._merge_divide(numbers int[], first int, last int) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  partners constant int[] := array(
    select d.partner from unnest(numbers[first:last]) with ordinality n(no, i) join pg_temp.steep_repl_differences d using (no) order by n.i);
begin
  if array_remove(partners, null) = '{}' then
    return case when last > first then (first + last) / 2 end;
  end if;
  return (
    select first - 1 + i from generate_series(1, last - first) i
    where partners[i] is null or partners[i] is distinct from partners[i + 1]
    order by abs(first - 1 + i - (first + last) / 2) limit 1);
end
$fn$;
comment on function steep_repl._merge_divide(int[], int, int) is 'private: where a part of a batch is divided';
