-- Writing rows on one side.

-- Rows here are read, and locked, without code of the table's owner, also where others of them are written.
create function steep_repl._merge_read_here(statement text) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_KEYS@ @SET_READING@ as $fn$
begin
  return steep_repl._merge_one_text(statement);
end
$fn$;
comment on function steep_repl._merge_read_here(text) is 'private: reads rows here by a statement of a plan';

-- A command in the middle of a transaction at the peer that is to go on whatever comes of it: as _peer_command, which ends it to find out
-- who has locked what.
create function steep_repl._merge_command_there(connection text, command text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_send(connection, command);
  perform steep_repl._peer_answer(connection);
end
$fn$;
comment on function steep_repl._merge_command_there(text, text) is 'private: runs a command in a transaction at the peer';

create function steep_repl._merge_read_side(connection text, is_here boolean, statement text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if is_here then
    return steep_repl._merge_read_here(statement);
  end if;
  perform steep_repl._peer_send(connection, statement);
  return steep_repl._peer_answer(connection);
end
$fn$;
comment on function steep_repl._merge_read_side(text, boolean, text) is 'private: reads rows on one side by a statement of a plan';

-- Runs a writing statement on one side; raises unless it wrote so many rows. The id of its transaction at the peer; and
-- what is read here while the peer writes. before: what the peer runs first.
create function steep_repl._merge_run(
  connection text, plan jsonb, action text, filling text, expected int, before text, meanwhile text, out peer_xid text, out read_here text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp @SET_KEYS@ as $fn$
declare
  is_local constant boolean := action like '%local';
  side constant jsonb := plan -> 'merge' -> case when is_local then 'local' else 'peer' end;
  defers constant boolean := side -> 'defers' = 'true';
  statement constant jsonb := side -> split_part(action, '_', 1);
  answer text;
begin
  if is_local and defers then
    set constraints all deferred;
  end if;
  if is_local and action <> 'delete_local' then
    execute steep_repl._fill(statement, '$1') into answer using filling;
  elsif is_local then
    execute steep_repl._fill(statement, filling) into answer;
  else
    -- what the table's owner has made runs with what is written, and with nothing else
    perform steep_repl._peer_send(connection, before || case when defers then 'set constraints all deferred; ' else '' end || 'set local steep_repl.trusted_code_only = off; ' || steep_repl._fill(
      statement, case when action = 'delete_remote' then filling else '''' || replace(filling, '''', '''''') || '''' end));
    if meanwhile is not null then
      begin
        read_here := steep_repl._merge_read_here(meanwhile);
      exception when lock_not_available or deadlock_detected then
        null; -- it is read once more, when it is needed
      end;
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
comment on function steep_repl._merge_run(text, jsonb, text, text, int, text, text) is 'private: writes rows on one side';

-- What some rows have become, where the image that they were written by may not say it: their key has another spelling than that
-- of the other side, or a trigger has changed them. Raises where one is not to be found.
create function steep_repl._merge_read_back(connection text, plan jsonb, action text, numbers int[], keys text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_here constant boolean := action like '%local';
  answer text;
begin
  -- what triggers have put off may change rows as well
  if is_here then
    set constraints all immediate;
  else
    perform steep_repl._merge_command_there(connection, 'set constraints all immediate');
  end if;
  answer := steep_repl._merge_read_side(
    connection, is_here, steep_repl._fill(plan -> 'merge' -> case when is_here then 'local' else 'peer' end -> 'read', keys));
  -- the first line has the numbers; of rows that were deleted there should be none
  if action not like 'delete%' and array(select n from unnest(split_part(answer, chr(10), 1)::int[]) n order by n) <> numbers then
    raise exception 'rows have other keys than they were written with' using errcode = 'serialization_failure', hint = 'A trigger may change them.';
  end if;
  return answer;
end
$fn$;
comment on function steep_repl._merge_read_back(text, jsonb, text, int[], text) is 'private: reads rows that were written';

-- So is what is written where such a trigger fires.
create function steep_repl._merge_note_triggers(here jsonb, there jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  side record;
begin
  update pg_temp.steep_repl_merge
  set fires_here = here -> 'may_skip_triggers' is distinct from 'true', fires_there = there -> 'may_skip_triggers' is distinct from 'true';
  for side in
    select s.*, w.* from (values ('local', here), ('peer', there)) s(name, node),
      (values ('row_triggers', 'reads_back'), ('delete_triggers', 'reads_back_deletes')) w(triggers, reads) loop
    update pg_temp.steep_repl_plans p
    set plan = jsonb_set(jsonb_set(p.plan, array['merge', side.name, side.reads], 'true'), array['merge', side.name, 'fires'], 'true')
    from pg_temp.steep_repl_tables t
    where t.no = p.no and case side.name when 'local' then t.local else t.peer end -> side.triggers
                          ?| array['A', case when side.node -> 'may_skip_triggers' = 'true' then 'R' else 'O' end];
  end loop;
end
$fn$;
comment on function steep_repl._merge_note_triggers(jsonb, jsonb) is 'private: has rows read back where triggers fire, which may change them';

-- Two answers to reading rows as one.
create function steep_repl._merge_joined(one text, two text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case
  when one is null then two
  when two is null then one
  else (select concat_ws(chr(10), (o.lines[1]::int[] || t.lines[1]::int[])::text, (o.lines[2]::int8[] || t.lines[2]::int8[])::text,
                         nullif(array_to_string(o.lines[3:] || t.lines[3:], chr(10)), ''))
        from (select string_to_array(one, chr(10)) as lines) o, (select string_to_array(two, chr(10)) as lines) t) end;
comment on function steep_repl._merge_joined(text, text) is 'private: two answers to reading rows as one';

-- What is filled into the statement of an action for some rows, whose images are in an answer.
create function steep_repl._merge_filling(plan jsonb, action text, numbers int[], images_from text) returns text
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
return case when action like 'delete%' then steep_repl._merge_keys_of(plan, numbers) else steep_repl._merge_images(images_from, numbers) end;
comment on function steep_repl._merge_filling(jsonb, text, int[], text) is 'private: what is filled into a writing statement';

-- What was written of some rows; result: what they have become, where that was read; refused: those that were not, and why.
create type steep_repl._merge_rows_written as (
  numbers int[], peer_xid text, read_here text, result text, refused int[], reasons text[]);
comment on type steep_repl._merge_rows_written is 'private: what was written of some rows';

-- Writes rows, and if they cannot all be written, their halves, and so on, until only those are left that cannot, or whose partners
-- cannot. Where it is locks that are in the way of everything, it ends early. Keys that are already there in the first round have come
-- since the rows were compared, and more of them may be coming, as from another merge of the same rows: all are looked at again first.
create function steep_repl._merge_write_rows(connection text, plan jsonb, action text, numbers int[], images_from text, meanwhile text)
returns steep_repl._merge_rows_written
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_at_peer constant boolean := action not like '%local';
  is_delete constant boolean := action like 'delete%';
  reads_back constant boolean := coalesce((plan -> 'merge' -> case when is_at_peer then 'peer' else 'local' end
                                           -> case when is_delete then 'reads_back_deletes' else 'reads_back' end)::boolean, false);
  waits constant boolean := (select m.waits from pg_temp.steep_repl_merge m);
  is_first_round constant boolean := (select m.round = 1 from pg_temp.steep_repl_merge m);
  parts int[] := array[1, cardinality(numbers)]; -- the first and the last row of each, as a stack
  part int[];
  waited_in_vain int := 0; -- one time after the other
  all_waits int := 0;
  before text := 'savepoint steep_repl; ';
  why text;
  context text;
  is_locked boolean;
  is_late boolean;
  middle int;
  result text;
  run record;
  written steep_repl._merge_rows_written;
begin
  written.numbers := '{}';
  written.refused := '{}';
  written.reasons := '{}';
  while cardinality(parts) > 0 loop
    part := numbers[parts[1]:parts[2]];
    why := null;
    begin
      run := steep_repl._merge_run(connection, plan, action, steep_repl._merge_filling(plan, action, part, images_from), cardinality(part), before,
                                   case when written.read_here is null then meanwhile end);
      written.read_here := coalesce(written.read_here, run.read_here);
      perform steep_repl._merge_check_deferred(connection, plan, action, part);
      result := case when reads_back then
        steep_repl._merge_read_back(connection, plan, action, part, steep_repl._merge_keys_of(plan, part)) end;
      if is_delete and result is not null then
        perform steep_repl._merge_note_differing(array(select r.no from steep_repl._merge_rows_of(result) r));
        result := null;
      end if;
    exception when undefined_table or undefined_function or undefined_object then
      get stacked diagnostics context = pg_exception_context;
      perform steep_repl._merge_raise_missing(sqlstate, sqlerrm, context);
    when integrity_constraint_violation or lock_not_available or deadlock_detected or serialization_failure
                or plpgsql_error or data_exception then
      -- of a single row, in a session, the error is the answer
      if waits and sqlstate !~ '^(55|40)' then
        raise;
      end if;
      why := sqlerrm;
      is_locked := sqlstate in ('55P03', '40P01');
      is_late := is_first_round and sqlstate = '23505';
    end;
    if why is null then
      written.numbers := written.numbers || part;
      written.peer_xid := run.peer_xid;
      written.result := steep_repl._merge_joined(written.result, result);
      before := 'release savepoint steep_repl; savepoint steep_repl; ';
      waited_in_vain := 0;
    else
      if is_at_peer then
        perform steep_repl._merge_command_there(connection, 'rollback to savepoint steep_repl; release savepoint steep_repl');
        before := 'savepoint steep_repl; ';
      end if;
      if is_locked then
        perform steep_repl._merge_be_hasty(connection, is_at_peer);
        waited_in_vain := waited_in_vain + 1;
        all_waits := all_waits + 1;
      end if;
      middle := steep_repl._merge_divide(numbers, parts[1], parts[2]);
      if middle is not null and not is_late and not (is_locked and steep_repl._merge_is_hopeless(waited_in_vain, all_waits)) then
        parts := array[parts[1], middle, middle + 1, parts[2]] || parts[3:];
        continue;
      end if;
      written.refused := written.refused || part;
      written.reasons := written.reasons || array_fill(why, array[cardinality(part)]);
    end if;
    parts := parts[3:];
  end loop;
  perform steep_repl._merge_hope(cardinality(written.numbers) > 0);
  return written;
end
$fn$;
comment on function steep_repl._merge_write_rows(text, jsonb, text, int[], text, text) is 'private: writes rows, and of those that cannot all be written the others';

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
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp @SET_KEYS@ as $fn$
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

