-- The rows of a batch of a merge: which they are, and how they are read on both sides.

-- Rows of the current table that differ: a FROM item of their keys, and what they were when they were compared.
create type steep_repl._merge_rows as (numbers int[], local_digests bigint[], peer_digests bigint[], keys text, key_texts text[]);
comment on type steep_repl._merge_rows is 'private: rows of a batch of a merge, in the order of their numbers; no numbers: there are none';

-- The next rows of a step, after one of them.
create function steep_repl._merge_rows_after(plan jsonb, step int, after int, size int) returns steep_repl._merge_rows
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  result steep_repl._merge_rows;
  last constant int := steep_repl._merge_last_partner(step, after, size);
begin
  execute format($sql$
    select array_agg(d.no), array_agg(d.local_digest), array_agg(d.peer_digest), %s, array_agg(d.key)
    from (select d.no, d.local_digest, d.peer_digest, d.key
          from pg_temp.steep_repl_steps s, pg_temp.steep_repl_merge m, pg_temp.steep_repl_differences d
          where s.step = $1 and d.no > $2 and d.turn = s.turn and ($4 is null or d.no <= $4)
            and case when s.category is null then d.action = s.action and d.round = m.round
                     else d.action is null and d.category = s.category end
          order by d.no limit case when $4 is null then $3 end) d$sql$, plan ->> 'keys')
  into result using step, after, size, last;
  return result;
end
$fn$;
comment on function steep_repl._merge_rows_after(jsonb, int, int, int) is 'private: the next rows of a step of a merge, a batch of that size';

-- Rows are read as one text, which has to fit into memory several times. A step begins with few, which may be as large as
-- they like; then 5,000, or as many as have about 8 MB.
create function steep_repl._merge_next_size(size int, bytes bigint) returns int
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case when bytes is null then size else greatest(1, least(5000, size * 10, size * 8000000::bigint / greatest(bytes, 1))) end;
comment on function steep_repl._merge_next_size(int, bigint) is 'private: how many rows the next batch has, after one of so many rows and bytes; NULL: it was not read';

-- A FROM item of the keys of some rows, whose numbers are in order.
create function steep_repl._merge_keys_of(plan jsonb, numbers int[]) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys text;
begin
  execute format($sql$
    select %s from (select d.no, d.key from pg_temp.steep_repl_differences d
                    where d.no = any ($1) and d.no between $1[1] and $1[cardinality($1)] order by d.no) d$sql$, plan ->> 'keys')
  into keys using numbers;
  return keys;
end
$fn$;
comment on function steep_repl._merge_keys_of(jsonb, int[]) is 'private: a FROM item of the keys of some rows';

-- What reading answers: lines, of which the first two are numbers and digests as arrays, and each other is an image.
create function steep_repl._merge_nothing() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return '{}' || chr(10) || '{}';
comment on function steep_repl._merge_nothing() is 'private: the answer to reading no row';

create function steep_repl._merge_rows_of(answer text) returns table (no int, image jsonb)
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  -- of an undo, a row that there was none of
  select u.no, nullif(u.image, 'null')::jsonb
  from string_to_array(answer, chr(10)) lines(a), lateral unnest(a[1]::int[], a[3:]) u(no, image)
$fn$;
comment on function steep_repl._merge_rows_of(text) is 'private: the rows of an answer';

create function steep_repl._row_image(names text[], variadic "any") returns text
language c stable parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_row_image';
comment on function steep_repl._row_image(text[], "any") is 'private: the image of a row, from the values of its columns';

create function steep_repl._merge_images(answer text, numbers int[]) returns text
language c immutable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_merge_images';
comment on function steep_repl._merge_images(text, int[]) is 'private: the images of some rows of an answer, a line each';

create function steep_repl._merge_unchanged(numbers int[], local_digests bigint[], peer_digests bigint[], here text, there text) returns int[]
language c immutable parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_merge_unchanged';
comment on function steep_repl._merge_unchanged(int[], bigint[], bigint[], text, text) is 'private: rows of a batch that nobody changed since they were compared, on both sides; without an answer of the peer, here';

create function steep_repl._merge_other_keys(numbers int[], keys text[], columns text[], answer text) returns int[]
language c immutable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_merge_other_keys';
comment on function steep_repl._merge_other_keys(int[], text[], text[], text) is 'private: rows of an answer whose image is not of the key that was asked for, by the texts';

-- Refuses an answer of the peer with other rows than it was asked for. Texts that differ may be of the same value, such as 1.0
-- and 1.00: then the type's own equality decides, as it does where a row is found by its image.
create function steep_repl._merge_check_keys(plan jsonb, numbers int[], key_texts text[], keys text, answer text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  others constant int[] := steep_repl._merge_other_keys(numbers, key_texts, array(select jsonb_array_elements_text(plan -> 'merge' -> 'same_keys' -> 'columns')), answer);
  same int;
begin
  if cardinality(others) = 0 then
    return;
  end if;
  execute steep_repl._fill(plan -> 'merge' -> 'same_keys' -> 'query', keys) into same using steep_repl._merge_images(answer, others), others;
  if same <> cardinality(others) then
    raise exception 'peer: an answer has other rows of table % than were asked for', plan ->> 'table' using errcode = 'protocol_violation',
      detail = format('Of %s rows, %s have another key.', cardinality(numbers), cardinality(others) - same),
      hint = 'Nothing of that answer was written. Find out what changes the answers of the peer before you merge with it again.';
  end if;
end
$fn$;
comment on function steep_repl._merge_check_keys(jsonb, int[], text[], text, text) is 'private: refuses images of the peer that are not of the rows that were asked for';

create function steep_repl._image_rows(images text) returns setof record
language c stable strict parallel unsafe rows 100 as 'MODULE_PATHNAME', 'steep_repl_image_rows';
comment on function steep_repl._image_rows(text) is 'private: rows from their images, with the columns that are asked for';

create function steep_repl._insert_images(target regclass, columns text[], images text) returns bigint
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_insert_images';
comment on function steep_repl._insert_images(regclass, text[], text) is 'private: inserts rows by their images, with the caller''s rights; how many';

-- As _one_text, for a statement that locks rows; without a statement no row is read.
create function steep_repl._merge_one_text(statement text) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer text;
begin
  if statement is null then
    return steep_repl._merge_nothing();
  end if;
  execute statement into answer;
  return answer;
end
$fn$;
comment on function steep_repl._merge_one_text(text) is 'private: as _one_text, for a statement that locks rows';

-- Whether a side is read: one that is to get new rows under a key that its index guards is not, for the index will say.
-- Where the sides do not replicate to each other, it is enough to lock what is written. Rows that others have locked are not
-- waited for; but where no index guards the key, one that seemed to be missing would be inserted a second time.
create function steep_repl._merge_reading(plan jsonb, side text, action text, locks boolean) returns jsonb
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select case
    when locks and is_written and action like 'insert%' and plan -> 'merge' -> side -> 'is_guarded' = 'true' then null
    when locks and (is_written or m.replicates)
      then plan -> 'merge' -> side -> case when m.waits or is_written and action like 'insert%' then 'lock' else 'lock_free' end
    else plan -> 'merge' -> side -> 'read' end
  from pg_temp.steep_repl_merge m, (select (side = 'local') = (action like '%local')) w(is_written)
$fn$;
comment on function steep_repl._merge_reading(jsonb, text, text, boolean) is 'private: the statement by which a side is read for an action, if it is';

-- Reads rows on both sides, unless they were read here already. Where they are locked that is one side after the other, for
-- all merges have to lock in the same order.
create function steep_repl._merge_read(
  connection text, plan jsonb, keys text, action text, dry_run boolean, read_here text, out here text, out there text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  locks constant boolean := not dry_run and action <> 'manual';
  is_local_first constant boolean := (select m.is_local_first from pg_temp.steep_repl_merge m);
  local_statement constant text := steep_repl._fill(steep_repl._merge_reading(plan, 'local', action, locks), keys);
  peer_statement constant text := steep_repl._fill(steep_repl._merge_reading(plan, 'peer', action, locks), keys);
begin
  if peer_statement is not null and not (locks and is_local_first) then
    perform steep_repl._peer_send(connection, peer_statement);
    if locks then
      there := steep_repl._peer_answer(connection);
    end if;
  end if;
  here := coalesce(read_here, steep_repl._merge_read_here(local_statement));
  if peer_statement is not null and locks and is_local_first then
    perform steep_repl._peer_send(connection, peer_statement);
    there := steep_repl._peer_answer(connection);
  elsif peer_statement is not null and not locks then
    there := steep_repl._peer_answer(connection);
  end if;
  there := coalesce(there, steep_repl._merge_nothing());
end
$fn$;
comment on function steep_repl._merge_read(text, jsonb, text, text, boolean, text) is 'private: reads rows on both sides by their keys, and locks them';

-- Reads rows at the peer that are written here and locked nowhere but here; then the peer is asked for those of the next
-- batch, which it reads while these are written.
create function steep_repl._merge_read_ahead(connection text, plan jsonb, keys text, is_asked boolean, next_keys text) returns text
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  statement constant jsonb := plan -> 'merge' -> 'peer' -> 'read';
  there text;
begin
  if not is_asked then
    perform steep_repl._peer_send(connection, steep_repl._fill(statement, keys));
  end if;
  there := steep_repl._peer_answer(connection);
  if next_keys is not null then
    perform steep_repl._peer_send(connection, steep_repl._fill(statement, next_keys));
  end if;
  return there;
end
$fn$;
comment on function steep_repl._merge_read_ahead(text, jsonb, text, boolean, text) is 'private: reads a batch at the peer, and has it read the next one';
