-- The batches of a merge. Each writes on one side only, and holds locks on its rows on both sides until that
-- is committed; docs/internals/merge-protocol.md says why. The transaction at the peer is left open: the coordinator ends it.

-- Rows here are read, and locked, without code of the table's owner, also where others of them are written.
create function steep_repl._merge_read_here(statement text) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_KEYS@ @SET_READING@ as $fn$
begin
  return steep_repl._merge_one_text(statement);
end
$fn$;
comment on function steep_repl._merge_read_here(text) is 'private: reads rows here by a statement of a plan';

-- Runs a writing statement on one side; raises unless it wrote so many rows. The id of its transaction at the peer; and
-- what is read here while the peer writes.
create function steep_repl._merge_run(
  connection text, plan jsonb, action text, filling text, expected int, meanwhile text, out peer_xid text, out read_here text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp @SET_KEYS@ as $fn$
declare
  is_local constant boolean := action like '%local';
  statement constant jsonb := plan -> 'merge' -> case when is_local then 'local' else 'peer' end -> split_part(action, '_', 1);
  answer text;
begin
  if is_local and action <> 'delete_local' then
    execute steep_repl._fill(statement, '$1') into answer using filling;
  elsif is_local then
    execute steep_repl._fill(statement, filling) into answer;
  else
    -- what the table's owner has made runs with what is written, and with nothing else
    perform steep_repl._peer_send(connection, 'set local steep_repl.trusted_code_only = off; ' || steep_repl._fill(
      statement, case when action = 'delete_remote' then filling else '''' || replace(filling, '''', '''''') || '''' end));
    if meanwhile is not null then
      read_here := steep_repl._merge_read_here(meanwhile);
    end if;
    answer := steep_repl._peer_answer(connection);
  end if;
  if split_part(answer, ' ', 1)::int <> expected then
    raise exception '% of % rows were written', split_part(answer, ' ', 1), expected using errcode = 'serialization_failure',
      hint = 'A trigger may suppress them.';
  end if;
  peer_xid := case when not is_local then split_part(answer, ' ', 2)::xid8::text end;
end
$fn$;
comment on function steep_repl._merge_run(text, jsonb, text, text, int, text) is 'private: writes rows on one side';

-- Puts what the peer has written so far on its disk. Else a crash of the peer could lose all of a transaction, and its id be
-- given to another one, whose commit would be taken for that of the batch. Before version 17 that takes a WAL page
-- that is full, which the WAL writer then flushes.
create function steep_repl._merge_flush_peer(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  version constant int := steep_repl._peer_version(connection);
  reached text;
begin
  if version >= 170000 then
    perform steep_repl._peer_json(connection, 'select pg_logical_emit_message(false, ''steep_repl'', '''', true)::text as lsn');
    return;
  end if;
  reached := steep_repl._peer_json(connection, 'select pg_logical_emit_message(false, ''steep_repl'', '''')::text as lsn') -> 0 ->> 'lsn';
  perform steep_repl._peer_json(connection, 'select pg_logical_emit_message(false, ''steep_repl'', repeat(''x'', 70000))::text as lsn');
  while (steep_repl._peer_json(connection, format('select pg_current_wal_flush_lsn() < %L::pg_lsn as waits', reached)) -> 0 -> 'waits')::boolean loop
    perform pg_sleep(0.02);
  end loop;
end
$fn$;
comment on function steep_repl._merge_flush_peer(text) is 'private: makes the id of a transaction at the peer last';

-- Of a key that is generated from other columns, an image has what the peer says of it; what it came to be here may be another.
create function steep_repl._merge_check_generated(plan jsonb, numbers int[]) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  written constant text := steep_repl._merge_one_text(steep_repl._fill(plan -> 'merge' -> 'local' -> 'read', steep_repl._merge_keys_of(plan, numbers)));
begin
  if (select count(distinct r.no) from steep_repl._merge_rows_of(written) r) <> cardinality(numbers) then
    raise exception 'peer: rows of table % have other values than their generated keys', plan ->> 'table' using errcode = 'protocol_violation',
      hint = 'Nothing of that answer was written. Find out what changes the answers of the peer before you merge with it again.';
  end if;
end
$fn$;
comment on function steep_repl._merge_check_generated(jsonb, int[]) is 'private: refuses rows of the peer that got another key here';

-- What came of a batch, for the audit log: what was read on both sides, the numbers of the rows that were written, and the peer's
-- transaction if that was there; how many rows were put off, and why; of an undo, those that are left since they have changed;
-- and what was read here for the next batch while the peer wrote this one.
create type steep_repl._merge_written as (
  action text, here text, there text, numbers int[], n_written int, n_changed int, peer_xid text, is_last boolean, why text,
  refused int[], read_ahead text);
comment on type steep_repl._merge_written is 'private: what came of a batch of a merge';

-- A batch that is to be written: by which plan, its rows, and those of the batch after it, if it reads ahead; reading: the
-- statement for that.
create type steep_repl._merge_todo as (
  step int, action text, is_here boolean, is_alone boolean, plan jsonb, rows steep_repl._merge_rows, is_read boolean,
  next_rows steep_repl._merge_rows, is_last boolean, reading jsonb);
comment on type steep_repl._merge_todo is 'private: a batch of a merge that is to be written';

create function steep_repl._last(numbers int[]) returns int
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return numbers[cardinality(numbers)];
comment on function steep_repl._last(int[]) is 'private: the last one of some numbers';

create function steep_repl._merge_find_batch(step int, dry_run boolean, reads_ahead boolean) returns steep_repl._merge_todo
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  at_step record;
  todo steep_repl._merge_todo;
begin
  select s.no, s.action, s.last, s.size, s.ahead into at_step from pg_temp.steep_repl_steps s where s.step = _merge_find_batch.step;
  if not found then
    return null;
  end if;
  perform steep_repl._merge_switch(at_step.no);
  todo.step := step;
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
comment on function steep_repl._merge_find_batch(int, boolean, boolean) is 'private: which rows the next batch of a step has; NULL if there is no such step';

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

-- Writes those rows of a batch, by the images of the other side; see _merge_run.
create function steep_repl._merge_write_batch(
  connection text, todo steep_repl._merge_todo, numbers int[], images_from text, out peer_xid text, out read_here text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_delete constant boolean := todo.action like 'delete%';
begin
  select r.peer_xid, r.read_here into peer_xid, read_here
  from steep_repl._merge_run(connection, todo.plan, todo.action,
    case when is_delete and numbers = (todo.rows).numbers then (todo.rows).keys
         when is_delete then steep_repl._merge_keys_of(todo.plan, numbers)
         else steep_repl._merge_images(images_from, numbers) end,
    cardinality(numbers), case when not todo.is_last and not todo.is_here then steep_repl._fill(todo.reading, (todo.next_rows).keys) end) r;
  if peer_xid is not null then
    perform steep_repl._merge_flush_peer(connection);
  elsif not is_delete and todo.plan -> 'merge' -> 'generates_key' = 'true' then
    perform steep_repl._merge_check_generated(todo.plan, numbers);
  end if;
end
$fn$;
comment on function steep_repl._merge_write_batch(text, steep_repl._merge_todo, int[], text) is 'private: writes rows of a batch';

-- The rows that were not written are compared again. The next batch begins after this one; bytes: of what was read.
create function steep_repl._merge_note_batch(todo steep_repl._merge_todo, numbers int[], bytes bigint) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  all_numbers constant int[] := (todo.rows).numbers;
begin
  if cardinality(numbers) < cardinality(all_numbers) then
    update pg_temp.steep_repl_differences d set action = 'again'
    where d.no = any (all_numbers) and d.no <> all (numbers) and d.no between all_numbers[1] and steep_repl._last(all_numbers);
  end if;
  update pg_temp.steep_repl_steps s
  set last = steep_repl._last(all_numbers), ahead = case when not todo.is_last then todo.next_rows end,
      size = steep_repl._merge_next_size(cardinality(all_numbers), bytes)
  where s.step = todo.step;
end
$fn$;
comment on function steep_repl._merge_note_batch(steep_repl._merge_todo, int[], bigint) is 'private: notes how far a step has come';

-- One batch of a step. Rows that are locked by others, or in the way of others, are put off. If it reads ahead, the other side is
-- read for the next batch while one side writes this one: where that is this side, no transaction is opened at the peer.
create function steep_repl._merge_batch(connection text, step int, dry_run boolean, reads_ahead boolean, read_here text)
returns steep_repl._merge_written
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  todo constant steep_repl._merge_todo := steep_repl._merge_find_batch(step, dry_run, reads_ahead);
  n_rows constant int := coalesce(cardinality((todo.rows).numbers), 0);
  written steep_repl._merge_written;
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
    perform steep_repl._peer_command(connection, 'begin');
  end if;
  begin
    if n_rows > 0 then
      select r.here, r.there, r.numbers into written.here, written.there, written.numbers
      from steep_repl._merge_read_batch(connection, todo, dry_run, read_here, read_there) r;
    end if;
    if cardinality(written.numbers) > 0 and not dry_run and todo.action <> 'manual' then
      select w.peer_xid, w.read_here into written.peer_xid, written.read_ahead
      from steep_repl._merge_write_batch(
        connection, todo, written.numbers, case when todo.is_here then written.there else written.here end) w;
    end if;
  exception when lock_not_available or deadlock_detected or serialization_failure or unique_violation then
    written.why := sqlerrm;
    written.numbers := '{}';
  end;
  written.n_written := cardinality(written.numbers);
  written.n_changed := n_rows - written.n_written;
  if n_rows > 0 and not todo.is_alone and (dry_run or todo.action = 'manual' or written.n_written = 0) then
    perform steep_repl._peer_command(connection, 'rollback');
  end if;
  if n_rows > 0 then
    perform steep_repl._merge_note_batch(todo, written.numbers, octet_length(written.here)::bigint + octet_length(written.there));
  end if;
  return written;
end
$fn$;
comment on function steep_repl._merge_batch(text, int, boolean, boolean, text) is 'private: the next batch of a step of a merge; its action is NULL if there is no such step';

-- Whether rows that were written at the peer are still here as they were, once our own part is committed and has
-- let go of them; they are locked again. If not, replication may already have brought a change that found no row there.
create function steep_repl._merge_is_still(connection text, step int, numbers int[]) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_steps s join pg_temp.steep_repl_plans p using (no) where s.step = _merge_is_still.step);
  before record;
  here text;
begin
  select array_agg(d.local_digest order by d.no) as local_digests, array_agg(d.peer_digest order by d.no) as peer_digests into before
  from pg_temp.steep_repl_differences d where d.no = any (numbers) and d.no between numbers[1] and numbers[cardinality(numbers)];
  here := steep_repl._merge_read_here(steep_repl._fill(plan -> 'merge' -> 'local' -> 'lock', steep_repl._merge_keys_of(plan, numbers)));
  if cardinality(steep_repl._merge_unchanged(numbers, before.local_digests, before.peer_digests, here, null)) = cardinality(numbers) then
    return true;
  end if;
  update pg_temp.steep_repl_differences d set action = 'again' where d.no = any (numbers);
  return false;
exception when lock_not_available or deadlock_detected then
  update pg_temp.steep_repl_differences d set action = 'again' where d.no = any (numbers);
  return false;
end
$fn$;
comment on function steep_repl._merge_is_still(text, int, int[]) is 'private: whether nobody changed rows here before the peer commits them';

-- Compares rows again that had changed, or could not be locked; how many steps that makes.
create function steep_repl._merge_look_again(connection text) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  this_round constant int := (select m.round + 1 from pg_temp.steep_repl_merge m);
  plan jsonb;
  target int;
begin
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    continue when not exists (select from pg_temp.steep_repl_differences d where d.action = 'again');
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = target;
    update pg_temp.steep_repl_differences d set is_settled = d.action is distinct from 'again';
    perform steep_repl._overlap_look_at_all(connection, plan, true);
    perform steep_repl._overlap_settle(connection, plan, interval '1 min');
    perform steep_repl._merge_choose(connection, plan, this_round);
  end loop;
  return steep_repl._merge_steps(this_round);
end
$fn$;
comment on function steep_repl._merge_look_again(text) is 'private: compares rows again that changed since';
