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

-- The rows to restore: of several changes of a row the image before the first, and the result of the last.
create function steep_repl._undo_read(merge_id text) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
begin
  create temp table steep_repl_undo (
    no int not null, row_no int not null, key text[] not null, action text not null, expected jsonb, image jsonb,
    primary key (no, action, row_no)) on commit preserve rows;
  insert into pg_temp.steep_repl_undo (no, row_no, key, action, expected, image)
  select t.no, row_number() over (partition by t.no), array(
           select a.key ->> k.name from jsonb_array_elements_text(p.plan -> 'key') with ordinality k(name, i) order by k.i),
         case when a.expected is null then 'insert_' when a.image is null then 'delete_' else 'update_' end || a.side, a.expected, a.image
  from (
    select a.table_name, a.key, s.side,
           (array_agg(case s.side when 'local' then a.local_row else a.remote_row end order by a.id))[1] as image,
           (array_agg(a.result_row order by a.id desc))[1] as expected
    from steep_repl.merge_audit_log a cross join lateral (select split_part(a.action, '_', 2) as side) s
    where a.merge_id = _undo_read.merge_id
    group by a.table_name, a.key, s.side) a
  join pg_temp.steep_repl_tables t on t.name = a.table_name join pg_temp.steep_repl_plans p on p.no = t.no
  where a.image is distinct from a.expected;
  analyze pg_temp.steep_repl_undo;
  delete from pg_temp.steep_repl_steps;
  insert into pg_temp.steep_repl_steps (step, no, action)
  select row_number() over (
           order by u.action like 'delete%', case when u.action like 'delete%' then -t.level else t.level end, t.no, u.action), u.no, u.action
  from (select distinct x.no, x.action from pg_temp.steep_repl_undo x) u join pg_temp.steep_repl_tables t using (no);
  return (select count(*) from pg_temp.steep_repl_steps);
end
$fn$;
comment on function steep_repl._undo_read(text) is 'private: reads what a merge wrote; how many steps taking it back has';

-- A FROM item of the keys of some rows of a step, whose numbers are in order.
create function steep_repl._undo_keys(plan jsonb, table_no int, wanted text, numbers int[]) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys text;
begin
  execute format($sql$
    select %s from (select u.row_no as no, u.key from pg_temp.steep_repl_undo u
                    where u.no = $1 and u.action = $2 and u.row_no = any ($3) order by u.row_no) d$sql$, plan ->> 'keys')
  into keys using table_no, wanted, numbers;
  return keys;
end
$fn$;
comment on function steep_repl._undo_keys(jsonb, int, text, int[]) is 'private: a FROM item of the keys of some rows to restore';

-- Reads rows that are to be restored, on their side, and locks them.
create function steep_repl._undo_lock(connection text, plan jsonb, is_here boolean, numbers int[], key_texts text[], keys text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  statement constant text := steep_repl._fill(plan -> 'merge' -> case when is_here then 'local' else 'peer' end -> 'lock', keys);
  answer text;
begin
  if is_here then
    return steep_repl._merge_read_here(statement);
  end if;
  perform steep_repl._peer_send(connection, statement);
  answer := steep_repl._peer_answer(connection);
  perform steep_repl._merge_check_keys(plan, numbers, key_texts, keys, answer);
  return answer;
end
$fn$;
comment on function steep_repl._undo_lock(text, jsonb, boolean, int[], text[], text) is 'private: reads and locks rows to restore';

-- One batch of a step, as _merge_batch does it. Audit records and conflicts of an undo have the row as it was found on the
-- side of the action, and on the other side the image that it gets.
create function steep_repl._undo_batch(connection text, step int) returns steep_repl._merge_written
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  at_step record;
  batch int[];
  key_texts text[];
  plan jsonb;
  keys text;
  found text;
  images text;
  restored text;
  written steep_repl._merge_written;
  is_here boolean;
begin
  select s.no, s.action, s.last, s.size into at_step from pg_temp.steep_repl_steps s where s.step = _undo_batch.step;
  is_here := at_step.action like '%local';
  select p.plan into plan from pg_temp.steep_repl_plans p where p.no = at_step.no;
  select coalesce(array_agg(u.row_no), '{}'), array_agg(u.key), string_agg(coalesce(u.image::text, 'null'), chr(10)) into batch, key_texts, restored
  from (select u.row_no, u.key, u.image from pg_temp.steep_repl_undo u
        where u.no = at_step.no and u.action = at_step.action and u.row_no > at_step.last order by u.row_no limit at_step.size) u;
  written.action := at_step.action;
  written.numbers := '{}';
  written.refused := '{}';
  written.n_written := 0;
  written.n_changed := 0;
  written.is_last := cardinality(batch) < at_step.size;
  if cardinality(batch) = 0 then
    return written;
  end if;
  perform steep_repl._peer_command(connection, 'begin');
  keys := steep_repl._undo_keys(plan, at_step.no, at_step.action, batch);
  found := steep_repl._undo_lock(connection, plan, is_here, batch, key_texts, keys);
  select coalesce(array_agg(u.row_no order by u.row_no) filter (where n.image is not distinct from u.expected), '{}'),
         coalesce(array_agg(u.row_no order by u.row_no) filter (
           where n.image is distinct from u.expected and n.image is distinct from u.image), '{}'),
         string_agg(u.image::text, chr(10)) filter (where n.image is not distinct from u.expected)
  into written.numbers, written.refused, images
  from pg_temp.steep_repl_undo u left join steep_repl._merge_rows_of(found) n on n.no = u.row_no
  where u.no = at_step.no and u.action = at_step.action and u.row_no = any (batch);
  written.n_written := cardinality(written.numbers);
  written.n_changed := cardinality(written.refused);
  restored := concat_ws(chr(10), batch, array_fill(0, array[cardinality(batch)]), restored);
  written.here := case when is_here then found else restored end;
  written.there := case when is_here then restored else found end;
  if written.n_written > 0 then
    select r.peer_xid into written.peer_xid from steep_repl._merge_run(connection, plan, at_step.action,
      case when at_step.action like 'delete%' then steep_repl._undo_keys(plan, at_step.no, at_step.action, written.numbers) else images end,
      written.n_written, null) r;
    if written.peer_xid is not null then
      perform steep_repl._merge_flush_peer(connection);
    end if;
  else
    perform steep_repl._peer_command(connection, 'rollback');
  end if;
  update pg_temp.steep_repl_steps s
  set last = steep_repl._last(batch),
      size = steep_repl._merge_next_size(cardinality(batch), octet_length(found)::bigint + octet_length(restored)) where s.step = _undo_batch.step;
  return written;
end
$fn$;
comment on function steep_repl._undo_batch(text, int) is 'private: the next batch of a step of an undo';
