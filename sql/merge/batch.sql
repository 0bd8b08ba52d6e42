-- The batches of a merge. Each writes on one side only, and holds locks on its rows on both sides until that
-- is committed; docs/internals/merge-protocol.md says why. The transaction at the peer is left open: the coordinator ends it.

-- What came of a batch, for the audit log: what was read on both sides, the numbers of the rows that were written, and the peer's
-- transaction if that was there; how many rows were put off, and why; of an undo, those that are left since they have changed;
-- what was read here for the next batch while the peer wrote this one; and what rows have become, if that was read.
create type steep_repl._merge_written as (
  action text, here text, there text, numbers int[], n_written int, n_changed int, peer_xid text, is_last boolean, why text,
  refused int[], read_ahead text, result text);
comment on type steep_repl._merge_written is 'private: what came of a batch of a merge';

-- Rows of a batch that are not written, and why.
create type steep_repl._merge_put_off as (numbers int[], reasons text[]);
comment on type steep_repl._merge_put_off is 'private: rows of a batch that are not written, and why';

-- A batch that is to be written: by which plan, its rows, and those of the batch after it, if it reads ahead; reading: the
-- statement for that.
create type steep_repl._merge_todo as (
  step int, action text, is_here boolean, is_alone boolean, plan jsonb, rows steep_repl._merge_rows, is_read boolean,
  next_rows steep_repl._merge_rows, is_last boolean, reading jsonb, is_linked boolean);
comment on type steep_repl._merge_todo is 'private: a batch of a merge that is to be written';

create function steep_repl._last(numbers int[]) returns int
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return numbers[cardinality(numbers)];
comment on function steep_repl._last(int[]) is 'private: the last one of some numbers';

create function steep_repl._merge_find_batch(connection text, step int, dry_run boolean, reads_ahead boolean) returns steep_repl._merge_todo
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  at_step record;
  todo steep_repl._merge_todo;
begin
  select s.no, s.action, s.last, s.size, s.ahead, s.is_ordered into at_step from pg_temp.steep_repl_steps s where s.step = _merge_find_batch.step;
  if not found then
    return null;
  end if;
  if at_step.action like 'delete%' and not at_step.is_ordered and not dry_run then
    perform steep_repl._merge_order_deletes(connection, step);
  end if;
  perform steep_repl._merge_switch(at_step.no);
  todo.step := step;
  todo.is_linked := at_step.action like 'delete%' and (select t.local -> 'parents' ? t.name from pg_temp.steep_repl_tables t where t.no = at_step.no);
  todo.action := at_step.action;
  todo.is_here := at_step.action like '%local';
  todo.is_alone := reads_ahead and todo.is_here;
  select p.plan into todo.plan from pg_temp.steep_repl_plans p where p.no = at_step.no;
  todo.is_read := at_step.ahead is not null;
  todo.rows := coalesce(at_step.ahead, steep_repl._merge_rows_after(todo.plan, step, at_step.last, at_step.size));
  todo.is_last := (todo.rows).numbers is null;
  if reads_ahead and not todo.is_last then
    todo.next_rows := steep_repl._merge_rows_after(todo.plan, step, steep_repl._last((todo.rows).numbers), at_step.size);
    todo.is_last := (todo.next_rows).numbers is null;
    todo.reading := steep_repl._merge_reading(todo.plan, 'local', at_step.action, not dry_run);
  end if;
  return todo;
end
$fn$;
comment on function steep_repl._merge_find_batch(text, int, boolean, boolean) is 'private: which rows the next batch of a step has; NULL if there is no such step';

-- Reads the rows of a batch; those that may be written are those that nobody has changed. read_here: what was read ahead.
create function steep_repl._merge_read_batch(
  connection text, todo steep_repl._merge_todo, dry_run boolean, read_here text, read_there text,
  out here text, out there text, out numbers int[])
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if todo.is_alone then
    here := steep_repl._merge_read_here(steep_repl._fill(todo.reading, (todo.rows).keys));
    there := read_there;
  else
    select r.here, r.there into here, there
    from steep_repl._merge_read(connection, todo.plan, (todo.rows).keys, todo.action, dry_run, read_here) r;
  end if;
  perform steep_repl._merge_check_keys(todo.plan, (todo.rows).numbers, (todo.rows).key_texts, (todo.rows).keys, there);
  numbers := steep_repl._merge_unchanged((todo.rows).numbers, (todo.rows).local_digests, (todo.rows).peer_digests, here, there);
end
$fn$;
comment on function steep_repl._merge_read_batch(text, steep_repl._merge_todo, boolean, text, text) is 'private: reads the rows of a batch on both sides';

-- Of rows that are not as they were: those that others have locked are still there, though reading them to lock them did not
-- find them.
create function steep_repl._merge_put_off_changed(
  connection text, todo steep_repl._merge_todo, locks boolean, unchanged int[], here text, there text)
returns steep_repl._merge_put_off
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  changed constant int[] := array(select n from unnest((todo.rows).numbers) n except select unchanged_no from unnest(unchanged) unchanged_no order by 1);
  side record;
  missing int[];
  locked int[] := '{}';
begin
  for side in
    select s.name, s.answer, s.digests
    from (values ('local', here, (todo.rows).local_digests), ('peer', there, (todo.rows).peer_digests)) s(name, answer, digests)
    where locks and cardinality(changed) > 0
      and steep_repl._merge_reading(todo.plan, s.name, todo.action, true) = todo.plan -> 'merge' -> s.name -> 'lock_free'
  loop
    missing := array(
      select d.no from unnest((todo.rows).numbers, side.digests) d(no, digest)
      where d.digest is not null and d.no = any (changed) and d.no not in (select a.no from steep_repl._merge_rows_of(side.answer) a) order by d.no);
    continue when cardinality(missing) = 0;
    locked := locked || array(select r.no from steep_repl._merge_rows_of(steep_repl._merge_read_side(
      connection, side.name = 'local',
      steep_repl._fill(todo.plan -> 'merge' -> side.name -> 'read', steep_repl._merge_keys_of(todo.plan, missing)))) r);
  end loop;
  if cardinality(locked) > 0 then
    update pg_temp.steep_repl_merge set was_locked = true;
  end if;
  return (changed, array(select case when n = any (locked) then 'locked by another transaction' else 'changed while it was merged' end
                         from unnest(changed) n))::steep_repl._merge_put_off;
end
$fn$;
comment on function steep_repl._merge_put_off_changed(text, steep_repl._merge_todo, boolean, int[], text, text) is 'private: why rows of a batch are not as they were';

-- Writes those rows of a batch, by the images of the other side; see _merge_write_rows.
create function steep_repl._merge_write_batch(connection text, todo steep_repl._merge_todo, numbers int[], images_from text)
returns steep_repl._merge_rows_written
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  written constant steep_repl._merge_rows_written := steep_repl._merge_write_rows(
    connection, todo.plan, todo.action, numbers, images_from,
    case when not todo.is_last and not todo.is_here then steep_repl._fill(todo.reading, (todo.next_rows).keys) end);
begin
  if written.peer_xid is not null then
    perform steep_repl._merge_flush_peer(connection);
  elsif todo.action not like 'delete%' and cardinality(written.numbers) > 0 and todo.plan -> 'merge' -> 'generates_key' = 'true' then
    perform steep_repl._merge_check_generated(todo.plan, written.numbers);
  end if;
  return written;
end
$fn$;
comment on function steep_repl._merge_write_batch(text, steep_repl._merge_todo, int[], text) is 'private: writes rows of a batch';

-- The rows that were not written are looked at again. The next batch begins after this one; bytes: of what was read.
create function steep_repl._merge_note_batch(todo steep_repl._merge_todo, put_off steep_repl._merge_put_off, bytes bigint) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  all_numbers constant int[] := (todo.rows).numbers;
begin
  update pg_temp.steep_repl_differences d set action = 'again', reason = p.reason
  from unnest(put_off.numbers, put_off.reasons) p(no, reason)
  where d.no = p.no;
  update pg_temp.steep_repl_steps s
  set last = steep_repl._last(all_numbers), ahead = case when not todo.is_last then todo.next_rows end,
      size = steep_repl._merge_next_size(cardinality(all_numbers), bytes)
  where s.step = todo.step;
end
$fn$;
comment on function steep_repl._merge_note_batch(steep_repl._merge_todo, steep_repl._merge_put_off, bigint) is 'private: notes how far a step has come';

-- Deletes of a table that refers to itself are written whole or not at all: where some were refused, such as by a trigger, those that
-- they refer to must stay as well. Then the batch begins again without the former.
create function steep_repl._merge_is_taken_back(todo steep_repl._merge_todo, rows_written steep_repl._merge_rows_written) returns boolean
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return todo.is_linked and coalesce(cardinality(rows_written.refused), 0) > 0;
comment on function steep_repl._merge_is_taken_back(steep_repl._merge_todo, steep_repl._merge_rows_written) is 'private: whether nothing of a batch stays written, since some of it was refused';

create function steep_repl._merge_write_linked(connection text, todo steep_repl._merge_todo, numbers int[], images_from text)
returns steep_repl._merge_rows_written
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_written steep_repl._merge_rows_written;
begin
  rows_written := steep_repl._merge_write_batch(connection, todo, numbers, images_from);
  if steep_repl._merge_is_taken_back(todo, rows_written) then
    raise exception 'taken back' using errcode = 'SR001';
  end if;
  return rows_written;
exception when sqlstate 'SR001' then
  rows_written.numbers := '{}';
  rows_written.peer_xid := null;
  rows_written.read_here := null;
  rows_written.result := null;
  return rows_written;
end
$fn$;
comment on function steep_repl._merge_write_linked(text, steep_repl._merge_todo, int[], text) is 'private: writes rows of a batch, or none where some are refused to which others belong';

-- One batch of a step. Rows that are locked by others, or in the way of others, are put off. If it reads ahead, the other side is
-- read for the next batch while one side writes this one: where that is this side, no transaction is opened at the peer.
create function steep_repl._merge_batch(connection text, step int, dry_run boolean, reads_ahead boolean, read_here text)
returns steep_repl._merge_written
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  todo constant steep_repl._merge_todo := steep_repl._merge_find_batch(connection, step, dry_run, reads_ahead);
  n_rows constant int := coalesce(cardinality((todo.rows).numbers), 0);
  writes constant boolean := not dry_run and todo.action <> 'manual';
  written steep_repl._merge_written;
  rows_written steep_repl._merge_rows_written;
  put_off steep_repl._merge_put_off := ('{}'::int[], '{}'::text[]);
  referred steep_repl._merge_put_off;
  read_there text;
begin
  written.action := todo.action;
  written.numbers := '{}';
  written.refused := '{}';
  written.is_last := todo.is_last;
  if todo.is_alone and n_rows > 0 then
    read_there := steep_repl._merge_read_ahead(
      connection, todo.plan, (todo.rows).keys, todo.is_read, case when not todo.is_last then (todo.next_rows).keys end);
  elsif n_rows > 0 then
    perform steep_repl._merge_begin_there(connection);
  end if;
  if n_rows > 0 then
    perform steep_repl._merge_set_haste(connection, not todo.is_alone);
    begin
      if writes then
        perform steep_repl._merge_lock_deferred(connection, todo.plan, todo.is_here);
      end if;
      select r.here, r.there, r.numbers into written.here, written.there, written.numbers
      from steep_repl._merge_read_batch(connection, todo, dry_run, read_here, read_there) r;
    exception when lock_not_available or deadlock_detected or serialization_failure then
      put_off := ((todo.rows).numbers, array_fill(sqlerrm, array[n_rows]));
    end;
    if cardinality(put_off.numbers) > 0 then
      perform steep_repl._merge_be_hasty(connection, false);
    elsif cardinality(written.numbers) < n_rows then
      put_off := steep_repl._merge_put_off_changed(connection, todo, writes, written.numbers, written.here, written.there);
    end if;
  end if;
  if cardinality(written.numbers) > 0 and writes and todo.action not like 'insert%' then
    referred := steep_repl._merge_referred_to(connection, todo, written.numbers, written.here, written.there);
    written.numbers := array(select n from unnest(written.numbers) n where n <> all (referred.numbers) order by n);
    put_off := (put_off.numbers || referred.numbers, put_off.reasons || referred.reasons);
  end if;
  if cardinality(written.numbers) > 0 and writes then
    rows_written := steep_repl._merge_write_linked(
      connection, todo, written.numbers, case when todo.is_here then written.there else written.here end);
    written.is_last := written.is_last and not steep_repl._merge_is_taken_back(todo, rows_written);
    written.numbers := rows_written.numbers;
    written.peer_xid := rows_written.peer_xid;
    written.read_ahead := rows_written.read_here;
    written.result := rows_written.result;
    perform steep_repl._merge_note_differing(steep_repl._merge_written_otherwise(
      todo.plan, rows_written.result, case when todo.is_here then written.there else written.here end));
    put_off := (put_off.numbers || rows_written.refused, put_off.reasons || rows_written.reasons);
  end if;
  written.n_written := cardinality(written.numbers);
  written.n_changed := n_rows - written.n_written;
  written.why := put_off.reasons[1];
  if n_rows > 0 and not todo.is_alone and (not writes or written.n_written = 0) then
    perform steep_repl._peer_command(connection, 'rollback');
  end if;
  if n_rows > 0 then
    perform steep_repl._merge_note_batch(todo, put_off, octet_length(written.here)::bigint + octet_length(written.there));
    if steep_repl._merge_is_taken_back(todo, rows_written) then
      update pg_temp.steep_repl_steps s set last = (todo.rows).numbers[1] - 1, ahead = null where s.step = todo.step;
    end if;
  end if;
  return written;
end
$fn$;
comment on function steep_repl._merge_batch(text, int, boolean, boolean, text) is 'private: the next batch of a step of a merge; its action is NULL if there is no such step';

-- How many rows that were written at the peer are not here any more as they were, once our own part is committed and has
-- let go of them; they are locked again. If there are any, replication may already have brought a change that found no row there:
-- then the peer is not to commit, and the others are the next batch.
create function steep_repl._merge_changed_since(connection text, step int, numbers int[]) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_steps s join pg_temp.steep_repl_plans p using (no) where s.step = _merge_changed_since.step);
  before record;
  here text;
  still int[] := '{}';
begin
  select array_agg(d.local_digest order by d.no) as local_digests, array_agg(d.peer_digest order by d.no) as peer_digests into before
  from pg_temp.steep_repl_differences d where d.no = any (numbers) and d.no between numbers[1] and steep_repl._last(numbers);
  begin
    here := steep_repl._merge_read_here(steep_repl._fill(plan -> 'merge' -> 'local' -> 'lock_free', steep_repl._merge_keys_of(plan, numbers)));
    still := steep_repl._merge_unchanged(numbers, before.local_digests, before.peer_digests, here, null);
  exception when lock_not_available or deadlock_detected then
    update pg_temp.steep_repl_merge set was_locked = true;
  end;
  if cardinality(still) < cardinality(numbers) then
    update pg_temp.steep_repl_differences d set action = 'again', reason = 'changed while it was merged'
    where d.no = any (numbers) and d.no <> all (still);
    update pg_temp.steep_repl_steps s set last = numbers[1] - 1, ahead = null where s.step = _merge_changed_since.step;
  end if;
  return cardinality(numbers) - cardinality(still);
end
$fn$;
comment on function steep_repl._merge_changed_since(text, int, int[]) is 'private: how many rows somebody has changed here before the peer commits them';

-- Rows that others had locked are waited for before each further round, each time twice as long, and in all as long as one lock may
-- be waited for.
create function steep_repl._merge_wait_for_locks(this_round int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  patience constant float8 := extract(epoch from current_setting('steep_repl.lock_timeout')::interval);
begin
  if (select m.was_locked from pg_temp.steep_repl_merge m) then
    perform pg_sleep(patience * 2 ^ (this_round - 9));
    update pg_temp.steep_repl_merge set was_locked = false, haste = least(haste, 1);
  end if;
end
$fn$;
comment on function steep_repl._merge_wait_for_locks(int) is 'private: waits before rows that were locked are looked at again';

-- Compares rows again that had changed, or could not be locked; how many steps that makes. What an undo restores stays what it is.
create function steep_repl._merge_look_again(connection text, is_undo boolean) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  this_round constant int := (select m.round + 1 from pg_temp.steep_repl_merge m);
  plan jsonb;
  target int;
begin
  perform steep_repl._merge_wait_for_locks(this_round);
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    continue when not exists (select from pg_temp.steep_repl_differences d where d.action = 'again');
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = target;
    update pg_temp.steep_repl_differences d set is_settled = d.action is distinct from 'again';
    if not is_undo then
      perform steep_repl._overlap_look_at_all(connection, plan, true);
      perform steep_repl._overlap_settle(connection, plan, interval '1 min');
    end if;
    if exists (select from pg_temp.steep_repl_merge m where m.overlap_id is not null) then
      perform steep_repl._merge_leave_changed();
    end if;
    perform steep_repl._merge_choose(connection, plan, this_round);
    if not is_undo then
      perform steep_repl._merge_leave_all_unfit(connection, plan, this_round);
    end if;
  end loop;
  return steep_repl._merge_steps(this_round);
end
$fn$;
comment on function steep_repl._merge_look_again(text, boolean) is 'private: compares rows again that changed since';
