-- Rows that were written, and are not what they were to be all the same: a trigger or a rule has made others of them.

create function steep_repl._merge_note_differing(numbers int[]) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_differences d
  set differs = true, reason = 'it was written, and differs still: something at its table, such as a trigger, makes another row of it'
  where d.no = any (numbers);
end
$fn$;
comment on function steep_repl._merge_note_differing(int[]) is 'private: notes rows that differ still';

-- Of a merge: what was read back has another digest than the row that it was written by, and that not by the spelling of its key alone.
create function steep_repl._merge_written_otherwise(plan jsonb, result text, images_from text) returns int[]
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  key constant text[] := array(select jsonb_array_elements_text(plan -> 'key'));
  differing constant int[] := array(
    select r.no
    from unnest(split_part(result, chr(10), 1)::int[], split_part(result, chr(10), 2)::int8[]) r(no, digest)
    join unnest(split_part(images_from, chr(10), 1)::int[], split_part(images_from, chr(10), 2)::int8[]) s(no, digest) using (no)
    where r.digest <> s.digest);
begin
  return case when cardinality(differing) > 0 then array(
    select r.no from steep_repl._merge_rows_of(result) r join steep_repl._merge_rows_of(images_from) s using (no)
    where r.no = any (differing) and r.image - key is distinct from s.image - key order by r.no) end;
end
$fn$;
comment on function steep_repl._merge_written_otherwise(jsonb, text, text) is 'private: rows that are not what they were written by; NULL for none';

-- Of an undo, whose images have no digests.
create function steep_repl._undo_written_otherwise(result text, restored text) returns int[]
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select array(
    select r.no from steep_repl._merge_rows_of(result) r join steep_repl._merge_rows_of(restored) s using (no)
    where r.image is distinct from s.image order by r.no)
$fn$;
comment on function steep_repl._undo_written_otherwise(text, text) is 'private: rows that are not what they were restored to';
