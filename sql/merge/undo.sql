-- Taking a merge back, by its audit log: each row that it wrote gets back the image that it had before, on the side where
-- it was written, unless somebody has changed it since.

-- What is to be taken back: the tables that the merge wrote to, and by which columns it told their rows apart.
create function steep_repl._undo_params(merge_id text, peer text, asked_by text) returns jsonb
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select jsonb_build_object(
    'tables', coalesce(jsonb_agg(t.table_name order by t.table_name), '[]'),
    'primary_keys', coalesce(jsonb_object_agg(t.table_name, t.key_columns), '{}'),
    'undoes', $1, 'asked_by', $3, 'peer', steep_repl._peer_label($2), 'is_conninfo', steep_repl._is_conninfo($2))
  from steep_repl.merge_tables t
  where t.merge_id = $1
    and exists (select from steep_repl.merge_audit_log a where a.merge_id = t.merge_id and a.table_name = t.table_name)
$fn$;
comment on function steep_repl._undo_params(text, text, text) is 'private: what the job that takes a merge back is to do';

-- Tables that are not what they were when they were merged are left as they are, all of their rows.
create function steep_repl._undo_skip_changed(connection text, merge_id text, tables text[]) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
begin
  insert into pg_temp.steep_repl_skipped (name, reason)
  select d.name, 'it is defined in different ways here and at the peer by now'
  from unnest(steep_repl._merge_differing(connection, tables)) d(name);
  insert into pg_temp.steep_repl_skipped (name, reason)
  select n.name, 'its columns are others than when it was merged'
  from unnest(tables) n(name)
  cross join lateral (
    -- without what is generated
    select coalesce(a.local_row, a.remote_row) as image, a.key from steep_repl.merge_audit_log a
    where a.merge_id = _undo_skip_changed.merge_id and a.table_name = n.name limit 1) i
  where to_regclass(n.name) is not null
    and array(select k.name from jsonb_object_keys(i.image) k(name) order by k.name collate "C")
        <> array(select t.attname::text from pg_attribute t
                 where t.attrelid = to_regclass(n.name) and t.attnum > 0 and not t.attisdropped
                   and (t.attgenerated = '' or i.key ? t.attname::text) order by t.attname::text collate "C")
  on conflict do nothing;
  return array(select n.name from unnest(tables) n(name) where n.name not in (select s.name from pg_temp.steep_repl_skipped s) order by n.name);
end
$fn$;
comment on function steep_repl._undo_skip_changed(text, text, text[]) is 'private: notes tables that were altered since they were merged; the others';

-- As _merge_plans. Tables that cannot be planned any more do not stop the others.
create function steep_repl._undo_plans(connection text, params jsonb) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  actions constant jsonb := (select jsonb_object_agg(v.verb || s.side, v.verb || s.side)
                             from unnest('{insert_,update_,delete_}'::text[]) v(verb), unnest('{local,remote}'::text[]) s(side));
  names constant text[] := steep_repl._texts(params -> 'tables');
begin
  perform steep_repl._overlap_work_tables();
  perform steep_repl._merge_work_tables(connection, actions);
  if cardinality(names) = 0 then
    return 0;
  end if;
  perform from steep_repl._overlap_targets(names, params -> 'primary_keys');
  return steep_repl._merge_plan_tables(
    connection, steep_repl._undo_skip_changed(connection, params ->> 'undoes', names), params -> 'primary_keys',
    jsonb_build_object('actions', actions, 'last_modified_column', null, 'skips', false));
end
$fn$;
comment on function steep_repl._undo_plans(text, jsonb) is 'private: how each table of an undo is written; how many there are';

-- Of several changes of a row, the image before the first of those between which nobody else has changed it; and whether somebody has
-- changed it before that.
create function steep_repl._undo_chain(befores jsonb[], afters jsonb[], out image jsonb, out has_gap boolean)
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select befores[g.first], g.first > 1
  from (select coalesce(max(u.i), 1) as first from generate_series(2, cardinality(befores)) u(i) where befores[u.i] is distinct from afters[u.i - 1]) g
$fn$;
comment on function steep_repl._undo_chain(jsonb[], jsonb[]) is 'private: what a row is given back';

-- What a merge wrote to one table, by row and side. A row may have been written down by two spellings of its key, as 1.5 and 1.50: here
-- or at the peer, whichever side had it.
create function steep_repl._undo_read_table(plan jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  key_of_type constant text := (
    select string_agg(format('(a.key ->> %L)::%s', c.name, plan -> 'merge' -> 'same_keys' -> 'types' ->> (c.i::int - 1)), ', ' order by c.i)
    from jsonb_array_elements_text(plan -> 'key') with ordinality c(name, i));
begin
  execute format($sql$
    insert into pg_temp.steep_repl_differences (no, category, key, expected, image, has_gap)
    select row_number() over (), case when u.expected is null then 'insert_' when u.image is null then 'delete_' else 'update_' end
             || case u.side when 'local' then 'local' else 'remote' end,
           array(select u.key ->> k.name from jsonb_array_elements_text($2) with ordinality k(name, i) order by k.i),
           u.expected, u.image, u.has_gap
    from (select w.key, w.side, w.afters[cardinality(w.afters)] as expected, c.image, c.has_gap
          from (select (array_agg(a.key order by a.id desc))[1] as key, a.side,
                       array_agg(a.before order by a.id) as befores, array_agg(a.after order by a.id) as afters
                from pg_temp.steep_repl_undo a where a.table_name = $1 group by a.side, %s) w
          cross join lateral steep_repl._undo_chain(w.befores, w.afters) c) u
    where u.image is distinct from u.expected$sql$, key_of_type)
  using plan ->> 'table', plan -> 'key';
end
$fn$;
comment on function steep_repl._undo_read_table(jsonb) is 'private: reads what a merge wrote to one table';

-- The rows to restore, in tables as those of rows that differ: their category is what is done. expected: what the merge left.
create function steep_repl._undo_read(connection text, merge_id text) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  target record;
begin
  alter table pg_temp.steep_repl_differences
    add column expected jsonb, add column image jsonb, add column has_gap boolean not null default false;
  create temp table steep_repl_undo as
    select a.id, a.table_name, a.key, s.side, case s.side when 'local' then a.local_row else a.remote_row end as before, a.result_row as after
    from steep_repl.merge_audit_log a cross join lateral (select split_part(a.action, '_', 2) as side) s
    where a.merge_id = _undo_read.merge_id;
  create index on pg_temp.steep_repl_undo (table_name);
  for target in select t.no, p.plan from pg_temp.steep_repl_tables t join pg_temp.steep_repl_plans p using (no) order by t.no loop
    perform steep_repl._merge_switch(target.no);
    perform steep_repl._undo_read_table(target.plan);
    analyze pg_temp.steep_repl_differences;
  end loop;
  drop table pg_temp.steep_repl_undo;
  perform steep_repl._merge_check_unique(connection, true);
  return steep_repl._merge_steps(1);
end
$fn$;
comment on function steep_repl._undo_read(text, text) is 'private: reads what a merge wrote; how many steps taking it back has';

-- Reads rows that are to be restored, on their side, and locks those that nobody else has locked.
create function steep_repl._undo_lock(connection text, todo steep_repl._merge_todo, reading text, numbers int[], key_texts text[], keys text)
returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer constant text := steep_repl._merge_read_side(
    connection, todo.is_here,
    steep_repl._fill(todo.plan -> 'merge' -> case when todo.is_here then 'local' else 'peer' end -> reading, keys));
begin
  if not todo.is_here then
    perform steep_repl._merge_check_keys(todo.plan, numbers, key_texts, keys, answer);
  end if;
  return answer;
end
$fn$;
comment on function steep_repl._undo_lock(text, steep_repl._merge_todo, text, int[], text[], text) is 'private: reads and locks rows to restore';

-- What is to be done about the rows of a batch, as they were found: they are written, or left to somebody, or put off; what already is as
-- it was needs nothing.
create function steep_repl._undo_decide(
  connection text, todo steep_repl._merge_todo, answer text, out to_write int[], out refused int[], out put_off steep_repl._merge_put_off)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  batch constant int[] := (todo.rows).numbers;
  missing constant int[] := array(
    select d.no from pg_temp.steep_repl_differences d
    where d.no = any (batch) and d.expected is not null and d.no not in (select n.no from steep_repl._merge_rows_of(answer) n) order by d.no);
  locked int[] := '{}';
  keys text;
begin
  if cardinality(missing) > 0 then
    keys := steep_repl._merge_keys_of(todo.plan, missing);
    locked := array(select r.no from steep_repl._merge_rows_of(steep_repl._undo_lock(
      connection, todo, 'read', missing, array(select d.key from pg_temp.steep_repl_differences d where d.no = any (missing) order by d.no), keys)) r);
    update pg_temp.steep_repl_merge set was_locked = true where cardinality(locked) > 0;
  end if;
  select coalesce(array_agg(d.no order by d.no) filter (where n.image is not distinct from d.expected), '{}'),
         coalesce(array_agg(d.no order by d.no) filter (
           where n.image is distinct from d.expected and n.image is distinct from d.image and d.no <> all (locked)), '{}')
  into to_write, refused
  from pg_temp.steep_repl_differences d left join steep_repl._merge_rows_of(answer) n on n.no = d.no
  where d.no = any (batch);
  put_off := (locked, array_fill('locked by another transaction'::text, array[cardinality(locked)]));
end
$fn$;
comment on function steep_repl._undo_decide(text, steep_repl._merge_todo, text) is 'private: what is to be done about rows of an undo';

-- Rows that were changed since are somebody's to decide; so is what was written before somebody changed a row.
create function steep_repl._undo_note_batch(todo steep_repl._merge_todo, refused int[], put_off steep_repl._merge_put_off, bytes bigint) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_differences d
  set action = 'left', reason = case when d.no = any (refused) then 'changed since'
                                       else 'changed between two writes of the merge, of which only the later one is taken back' end
  where d.no = any ((todo.rows).numbers) and (d.no = any (refused) or d.has_gap and d.no <> all (put_off.numbers));
  perform steep_repl._merge_note_batch(todo, put_off, bytes);
end
$fn$;
comment on function steep_repl._undo_note_batch(steep_repl._merge_todo, int[], steep_repl._merge_put_off, bigint) is 'private: notes how far a step of an undo has come';

-- One batch of a step, as _merge_batch does it. Audit records and conflicts of an undo have the row as it was found on the
-- side of the action, and on the other side the image that it gets.
create function steep_repl._undo_batch(connection text, step int) returns steep_repl._merge_written
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  todo constant steep_repl._merge_todo := steep_repl._merge_find_batch(connection, step, false, false);
  batch constant int[] := (todo.rows).numbers;
  n_rows constant int := coalesce(cardinality(batch), 0);
  side constant text := case when todo.is_here then 'local' else 'peer' end;
  -- where no index guards the key, a row that others have locked would be inserted a second time
  reading constant text := case when todo.action like 'insert%' and todo.plan -> 'merge' -> side -> 'is_guarded' = 'false' then 'lock' else 'lock_free' end;
  found text;
  restored text;
  decided record;
  rows_written steep_repl._merge_rows_written;
  put_off steep_repl._merge_put_off := ('{}'::int[], '{}'::text[]);
  referred steep_repl._merge_put_off;
  written steep_repl._merge_written;
begin
  written.action := todo.action;
  written.numbers := '{}';
  written.refused := '{}';
  written.n_written := 0;
  written.n_changed := 0;
  written.is_last := todo.is_last;
  if n_rows = 0 then
    return written;
  end if;
  perform steep_repl._merge_begin_there(connection);
  perform steep_repl._merge_set_haste(connection, true);
  select concat_ws(chr(10), batch, array_fill(0, array[n_rows]), string_agg(coalesce(d.image::text, 'null'), chr(10) order by d.no)) into restored
  from pg_temp.steep_repl_differences d where d.no = any (batch);
  begin
    perform steep_repl._merge_lock_deferred(connection, todo.plan, todo.is_here);
    found := steep_repl._undo_lock(connection, todo, reading, batch, (todo.rows).key_texts, (todo.rows).keys);
    decided := steep_repl._undo_decide(connection, todo, found);
    written.numbers := decided.to_write;
    written.refused := decided.refused;
    put_off := decided.put_off;
  exception when lock_not_available or deadlock_detected or serialization_failure then
    put_off := (batch, array_fill(sqlerrm, array[n_rows]));
  end;
  if put_off.numbers = batch then
    perform steep_repl._merge_be_hasty(connection, false);
  end if;
  if cardinality(written.numbers) > 0 and todo.action not like 'insert%' then
    referred := steep_repl._merge_referred_to(connection, todo, written.numbers, found, restored);
    written.numbers := array(select n from unnest(written.numbers) n where n <> all (referred.numbers) order by n);
    put_off := (put_off.numbers || referred.numbers, put_off.reasons || referred.reasons);
  end if;
  if cardinality(written.numbers) > 0 then
    rows_written := case when todo.is_linked then steep_repl._merge_write_linked(connection, todo, written.numbers, restored)
                         else steep_repl._merge_write_rows(connection, todo.plan, todo.action, written.numbers, restored, null) end;
    written.is_last := written.is_last and not steep_repl._merge_is_taken_back(todo, rows_written);
    written.numbers := rows_written.numbers;
    written.peer_xid := rows_written.peer_xid;
    written.result := rows_written.result;
    perform steep_repl._merge_note_differing(steep_repl._undo_written_otherwise(rows_written.result, restored));
    put_off := (put_off.numbers || rows_written.refused, put_off.reasons || rows_written.reasons);
  end if;
  written.n_written := cardinality(written.numbers);
  written.n_changed := cardinality(put_off.numbers);
  written.why := put_off.reasons[1];
  written.here := case when todo.is_here then found else restored end;
  written.there := case when todo.is_here then restored else found end;
  if written.n_written = 0 then
    perform steep_repl._peer_command(connection, 'rollback');
  elsif written.peer_xid is not null then
    perform steep_repl._merge_flush_peer(connection);
  end if;
  perform steep_repl._undo_note_batch(todo, written.refused, put_off, octet_length(found)::bigint + octet_length(restored));
  if steep_repl._merge_is_taken_back(todo, rows_written) then
    update pg_temp.steep_repl_steps s set last = batch[1] - 1, ahead = null where s.step = todo.step;
  end if;
  return written;
end
$fn$;
comment on function steep_repl._undo_batch(text, int) is 'private: the next batch of a step of an undo';
