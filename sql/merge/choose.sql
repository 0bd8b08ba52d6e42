-- What is to be done about each row that differs, and in which order.

-- When rows were last modified, for those in conflict that have no action yet.
create function steep_repl._merge_choose_by_stamps(connection text, plan jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_look constant int := 5000;
  chunk record;
  keys text;
  answer record;
begin
  for chunk in
    select array_agg(d.no order by d.no) as numbers
    from (select d.no, (row_number() over (order by d.no) - 1) / rows_of_look as n
          from pg_temp.steep_repl_differences d where d.action = 'stamps') d
    group by d.n
  loop
    keys := steep_repl._merge_keys_of(plan, chunk.numbers);
    select * into answer from steep_repl._on_both_by_keys(connection,
      steep_repl._fill(plan -> 'merge' -> 'local' -> 'stamps', keys), steep_repl._fill(plan -> 'merge' -> 'peer' -> 'stamps', keys));
    -- A stamp that is missing says nothing about which is older. Those, and ties, are decided by the rows' exact digests,
    -- which gives the same row from either end, and whatever both sides were compared by.
    execute format($sql$
      with l as (select * from unnest(($1::text[])[1]::int[], ($1::text[])[2]::%1$s[], ($1::text[])[3]::int8[]) u(no, stamp, digest)),
      p as (select * from unnest(($2::text[])[1]::int[], ($2::text[])[2]::%1$s[], ($2::text[])[3]::int8[]) u(no, stamp, digest))
      update pg_temp.steep_repl_differences d
      set action = case when l.stamp > p.stamp then 'update_remote' when l.stamp < p.stamp then 'update_local'
                        when l.digest > p.digest then 'update_remote' else 'update_local' end
      from l full join p using (no) where d.no = coalesce(l.no, p.no) and d.action = 'stamps'$sql$, plan -> 'merge' ->> 'stamp_type')
      using answer.here, answer.there;
  end loop;
  -- gone on both sides meanwhile
  update pg_temp.steep_repl_differences d set action = 'again' where d.action = 'stamps';
end
$fn$;
comment on function steep_repl._merge_choose_by_stamps(text, jsonb) is 'private: of rows in conflict, the one that was modified last is taken';

-- Marks the rows whose action does not follow from their category alone: conflicts that the last change decides, and rows
-- that were put off, which this round takes up again.
create function steep_repl._merge_choose(connection text, plan jsonb, this_round int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  by_row constant text[] := array(select a.key from jsonb_each_text(actions) a where a.value in ('stamps', 'again'));
begin
  update pg_temp.steep_repl_differences d set round = this_round, action = actions ->> d.category
  where d.action = 'again' or d.action is null and d.category = any (by_row);
  if actions ->> 'conflict' = 'stamps' then
    perform steep_repl._merge_choose_by_stamps(connection, plan);
  end if;
end
$fn$;
comment on function steep_repl._merge_choose(text, jsonb, int) is 'private: decides what is done about rows that differ';

-- Of a stored comparison's rows, those that are not any more as they were reviewed.
create function steep_repl._merge_leave_changed() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_differences d set action = 'left', reason = 'changed since it was compared'
  where d.action is distinct from 'left' and (d.local_digest, d.peer_digest) is distinct from (d.reviewed_local, d.reviewed_peer);
end
$fn$;
comment on function steep_repl._merge_leave_changed() is 'private: leaves rows that were changed since they were reviewed';

-- Takes the rows of a table as a stored comparison has them; its counts. Rows that are equal by now need nothing.
create function steep_repl._merge_take_reviewed(
  connection text, plan jsonb, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  overlap_id constant text := (select m.overlap_id from pg_temp.steep_repl_merge m);
begin
  select t.local_only_count, t.remote_only_count, t.match_count, t.conflict_count, t.unsettled_count
  into local_only_count, remote_only_count, match_count, conflict_count, unsettled_count
  from steep_repl._overlap_kept_table(overlap_id, plan ->> 'table') t;
  delete from pg_temp.steep_repl_differences;
  insert into pg_temp.steep_repl_differences (
    no, category, key, local_digest, peer_digest, reviewed_local, reviewed_peer, is_settled, action, reason)
  select row_number() over (), r.category, array(select r.key ->> k.name from jsonb_array_elements_text(plan -> 'key') with ordinality k(name, n) order by k.n),
         r.local_digest, r.peer_digest, r.local_digest, r.peer_digest, r.category = 'unsettled',
         case when r.category = 'unsettled' then 'left' end, case when r.category = 'unsettled' then 'unsettled when it was compared' end
  from steep_repl._overlap_kept_rows(overlap_id, plan ->> 'table', null, null) r;
  perform steep_repl._overlap_look_at_all(connection, plan, false);
  perform steep_repl._merge_leave_changed();
  analyze pg_temp.steep_repl_differences;
end
$fn$;
comment on function steep_repl._merge_take_reviewed(text, jsonb) is 'private: takes rows that differ from a stored comparison';

-- Rows of the current table that an earlier attempt has merged, and that differ again, count as what they were first: by what they are
-- now; and how many of them were there when they had been merged.
create function steep_repl._merge_count_once(plan jsonb, out local_only bigint, out remote_only bigint, out conflict bigint, out is_there bigint)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  this_merge constant text := (select m.merge_id from pg_temp.steep_repl_merge m);
begin
  select count(*) filter (where d.category = 'local_only'), count(*) filter (where d.category = 'remote_only'),
         count(*) filter (where d.category = 'conflict'), count(*) filter (where not a.is_gone)
  into local_only, remote_only, conflict, is_there
  from (select a.key, (array_agg(a.action like 'delete%' order by a.id desc))[1] as is_gone
        from steep_repl.merge_audit_log a where a.merge_id = this_merge and a.table_name = plan ->> 'table' group by a.key) a
  join pg_temp.steep_repl_differences d
    on a.key = jsonb_object(array(select jsonb_array_elements_text(plan -> 'key')), d.key);
end
$fn$;
comment on function steep_repl._merge_count_once(jsonb) is 'private: rows of a table that differ again since they were merged';

-- Compares a table and decides about its rows; the counts of its categories.
create function steep_repl._merge_compare(
  connection text, no int, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_plans p where p.no = _merge_compare.no);
  again record;
begin
  perform steep_repl._merge_switch(no);
  if exists (select from pg_temp.steep_repl_merge m where m.overlap_id is not null) then
    select r.local_only_count, r.remote_only_count, r.match_count, r.conflict_count, r.unsettled_count
    into local_only_count, remote_only_count, match_count, conflict_count, unsettled_count
    from steep_repl._merge_take_reviewed(connection, plan) r;
    perform steep_repl._merge_choose(connection, plan, 1);
    perform steep_repl._merge_leave_all_unfit(connection, plan, 1);
    return;
  end if;
  select o.local_only_count, o.remote_only_count, o.match_count, o.conflict_count, o.unsettled_count
  into local_only_count, remote_only_count, match_count, conflict_count, unsettled_count
  from steep_repl._overlap_table(connection, plan, interval '1 min') o;
  if exists (select from pg_temp.steep_repl_earlier e where e.no = _merge_compare.no) then
    select * into again from steep_repl._merge_count_once(plan);
    local_only_count := local_only_count - again.local_only;
    remote_only_count := remote_only_count - again.remote_only;
    conflict_count := conflict_count - again.conflict;
    match_count := match_count + again.is_there;
  end if;
  perform steep_repl._merge_choose(connection, plan, 1);
  perform steep_repl._merge_leave_all_unfit(connection, plan, 1);
  analyze pg_temp.steep_repl_differences;
end
$fn$;
comment on function steep_repl._merge_compare(text, int) is 'private: compares one table of a merge';

-- The steps of this round: inserts and updates, parents first; then deletes, children first. Deletes that make room for other rows come
-- before all that; see partners.sql for the turns of a table's rows.
create function steep_repl._merge_steps(this_round int) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  target int;
begin
  update pg_temp.steep_repl_merge set round = this_round;
  delete from pg_temp.steep_repl_steps;
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    insert into pg_temp.steep_repl_steps (step, no, category, action, turn, n_rows)
    select -(row_number() over () + 100 * target), target, a.category, a.action, a.turn, a.n_rows
    from (select case when d.action is null then d.category end as category, coalesce(d.action, actions ->> d.category) as action, d.turn, sum(d.n) as n_rows
          from (select d.category, d.action, d.turn, count(*) as n from pg_temp.steep_repl_differences d
                where d.action is null and this_round = 1 or d.action is not null and d.round = this_round group by 1, 2, 3) d
          group by 1, 2, 3) a
    where a.action not in ('keep', 'left', 'again');
  end loop;
  update pg_temp.steep_repl_steps s set step = o.n
  from (select x.step, row_number() over (
          order by case when x.action not like 'delete%' then 1 when x.turn < 0 then 0 else 2 end,
                   case when x.action like 'delete%' then -t.level else t.level end, t.no, x.turn, x.action) as n
        from pg_temp.steep_repl_steps x join pg_temp.steep_repl_tables t using (no)) o
  where o.step = s.step;
  return (select count(*) from pg_temp.steep_repl_steps);
end
$fn$;
comment on function steep_repl._merge_steps(int) is 'private: orders what is to be written; how many steps';

create function steep_repl._merge_rows_to_write() returns int
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (select coalesce(sum(s.n_rows), 0) from pg_temp.steep_repl_steps s);
end
$fn$;
comment on function steep_repl._merge_rows_to_write() is 'private: how many rows a round has';
