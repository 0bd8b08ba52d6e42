-- The batches of a merge. Each writes on one side only, and holds locks on its rows on both sides until that
-- is committed; ARCHITECTURE.md says why. The transaction at the peer is left open: the coordinator ends it.

-- Rows of this round with an action, as a FROM item of their keys for either side.
create function steep_repl._merge_keys(plan jsonb, first int, last int, wanted text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  this_round constant int := (select m.round from pg_temp.steep_repl_merge m);
  keys text;
  part text;
begin
  select format('unnest(%L::int[]', array_agg(d.no order by d.no)) into keys
  from pg_temp.steep_repl_differences d where d.action = wanted and d.round = this_round and d.no between first and last;
  for i in 1 .. jsonb_array_length(plan -> 'key') loop
    select format(', %L::%s[]', array_agg(d.key[i] order by d.no), plan -> 'key_types' ->> (i - 1)) into part
    from pg_temp.steep_repl_differences d where d.action = wanted and d.round = this_round and d.no between first and last;
    keys := keys || part;
  end loop;
  return keys || ')';
end
$fn$;
comment on function steep_repl._merge_keys(jsonb, int, int, text) is 'private: a FROM item of the keys of rows that await an action';

-- Reads rows on both sides, one after the other: where they are locked, all merges have to lock in the same order.
create function steep_repl._merge_read(connection text, plan jsonb, keys text, how text, out here text, out there text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_local_first constant boolean := (select m.is_local_first from pg_temp.steep_repl_merge m);
  peer_statement constant text := steep_repl._fill(plan -> 'merge' -> 'peer' -> how, keys);
begin
  if how = 'read' or not is_local_first then
    perform steep_repl._peer_send(connection, peer_statement);
  end if;
  if how = 'lock' and not is_local_first then
    there := steep_repl._peer_answer(connection);
  end if;
  execute steep_repl._fill(plan -> 'merge' -> 'local' -> how, keys) into here;
  if how = 'lock' and is_local_first then
    perform steep_repl._peer_send(connection, peer_statement);
  end if;
  if there is null then
    there := steep_repl._peer_answer(connection);
  end if;
end
$fn$;
comment on function steep_repl._merge_read(text, jsonb, text, text) is 'private: reads rows on both sides by their keys, and locks them';

-- Numbers of rows that are on both sides as they were when they were compared.
create function steep_repl._merge_unchanged(here text, there text, first int, last int, wanted text) returns int[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  this_round constant int := (select m.round from pg_temp.steep_repl_merge m);
  result int[];
begin
  with l as (
    select * from rows from (jsonb_array_elements_text(here::jsonb -> 'n'), jsonb_array_elements_text(here::jsonb -> 'd')) u(no, digest)),
  p as (
    select * from rows from (jsonb_array_elements_text(there::jsonb -> 'n'), jsonb_array_elements_text(there::jsonb -> 'd')) u(no, digest))
  select array_agg(d.no order by d.no) into result
  from pg_temp.steep_repl_differences d left join l on l.no::int = d.no left join p on p.no::int = d.no
  where d.action = wanted and d.round = this_round and d.no between first and last
    and l.digest::bigint is not distinct from d.local_digest and p.digest::bigint is not distinct from d.peer_digest;
  return coalesce(result, '{}');
end
$fn$;
comment on function steep_repl._merge_unchanged(text, text, int, int, text) is 'private: rows of a batch that nobody changed since they were compared';

-- The images of what was read, as text; only those of some rows, if not all are wanted.
create function steep_repl._merge_images(answer text, numbers int[]) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  start constant int := position('"r":[' in answer) + 4;
  result text;
begin
  if jsonb_array_length(answer::jsonb -> 'n') = cardinality(numbers) then
    return substr(answer, start, length(answer) - start);
  end if;
  select coalesce('[' || string_agg(r.image::text, ',') || ']', '[]') into result
  from rows from (jsonb_array_elements_text(answer::jsonb -> 'n'), jsonb_array_elements(answer::jsonb -> 'r')) r(no, image)
  where r.no::int = any (numbers);
  return result;
end
$fn$;
comment on function steep_repl._merge_images(text, int[]) is 'private: a JSON array of the images of rows';

-- Runs a writing statement on one side; raises unless it wrote so many rows. The id of its transaction at the peer.
create function steep_repl._merge_run(connection text, plan jsonb, action text, filling text, expected int) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
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
    perform steep_repl._peer_send(connection, steep_repl._fill(
      statement, case when action = 'delete_remote' then filling else '''' || replace(filling, '''', '''''') || '''' end));
    answer := steep_repl._peer_answer(connection);
  end if;
  if split_part(answer, ' ', 1)::int <> expected then
    raise exception '% of % rows were written', split_part(answer, ' ', 1), expected using errcode = 'serialization_failure',
      hint = 'A trigger may suppress them.';
  end if;
  return case when not is_local then split_part(answer, ' ', 2) end;
end
$fn$;
comment on function steep_repl._merge_run(text, jsonb, text, text, int) is 'private: writes rows on one side';

-- A FROM item of the keys of some rows.
create function steep_repl._merge_keys_of(plan jsonb, numbers int[]) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys text := format('unnest(%L::int[]', numbers);
  part text;
begin
  for i in 1 .. jsonb_array_length(plan -> 'key') loop
    select format(', %L::%s[]', array_agg(d.key[i] order by n.ordinality), plan -> 'key_types' ->> (i - 1)) into part
    from unnest(numbers) with ordinality n(no, ordinality) join pg_temp.steep_repl_differences d using (no);
    keys := keys || part;
  end loop;
  return keys || ')';
end
$fn$;
comment on function steep_repl._merge_keys_of(jsonb, int[]) is 'private: a FROM item of the keys of some rows';

-- Rows that could not be written now are looked at again later.
create function steep_repl._merge_put_off(first int, last int, wanted text, written int[]) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  n int;
begin
  update pg_temp.steep_repl_differences d set action = 'again'
  where d.action = wanted and d.no between first and last and d.no <> all (written)
    and d.round = (select m.round from pg_temp.steep_repl_merge m);
  get diagnostics n = row_count;
  return n;
end
$fn$;
comment on function steep_repl._merge_put_off(int, int, text, int[]) is 'private: marks rows of a batch to be compared again';

-- One batch of a step. What came of it, for the audit log: what was read on both sides, and the numbers of the
-- rows that were written; peer_xid where that was at the peer. Rows that are locked by others, or in the way of
-- others, are put off.
create function steep_repl._merge_batch(
  connection text, step int, dry_run boolean,
  out action text, out here text, out there text, out numbers int[], out n_changed int, out peer_xid text, out is_last boolean, out why text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ as $fn$
declare
  rows_of_batch constant int := 5000;
  at_step record;
  batch record;
  plan jsonb;
begin
  select s.no, s.action, s.last into at_step from pg_temp.steep_repl_steps s where s.step = _merge_batch.step;
  action := at_step.action;
  perform steep_repl._merge_switch(at_step.no);
  select p.plan into plan from pg_temp.steep_repl_plans p where p.no = at_step.no;
  select min(d.no) as first, max(d.no) as last, count(*)::int as n into batch
  from (select d.no from pg_temp.steep_repl_differences d
        where d.action = at_step.action and d.round = (select m.round from pg_temp.steep_repl_merge m) and d.no > at_step.last
        order by d.no limit rows_of_batch) d;
  is_last := batch.n < rows_of_batch;
  numbers := '{}';
  n_changed := 0;
  if batch.n = 0 then
    return;
  end if;
  perform steep_repl._peer_command(connection, 'begin');
  begin
    select r.here, r.there into here, there
    from steep_repl._merge_read(connection, plan, steep_repl._merge_keys(plan, batch.first, batch.last, action),
                                case when dry_run or action = 'manual' then 'read' else 'lock' end) r;
    numbers := steep_repl._merge_unchanged(here, there, batch.first, batch.last, action);
    if cardinality(numbers) > 0 and not dry_run and action <> 'manual' then
      peer_xid := steep_repl._merge_run(connection, plan, action,
        case when action like 'delete%' then steep_repl._merge_keys_of(plan, numbers)
             else steep_repl._merge_images(case when action like '%local' then there else here end, numbers) end,
        cardinality(numbers));
    end if;
  exception when lock_not_available or deadlock_detected or serialization_failure or unique_violation then
    why := sqlerrm;
    numbers := '{}';
    peer_xid := null;
  end;
  if dry_run or action = 'manual' or cardinality(numbers) = 0 then
    perform steep_repl._peer_command(connection, 'rollback');
  end if;
  if cardinality(numbers) < batch.n then
    n_changed := steep_repl._merge_put_off(batch.first, batch.last, action, numbers);
  end if;
  update pg_temp.steep_repl_steps s set last = batch.last where s.step = _merge_batch.step;
end
$fn$;
comment on function steep_repl._merge_batch(text, int, boolean) is 'private: the next batch of a step of a merge';

-- Whether rows that were written at the peer are still here as they were, once our own part is committed and has
-- let go of them; they are locked again. If not, replication may already have brought a change that found no row there.
create function steep_repl._merge_is_still(connection text, step int, numbers int[]) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ as $fn$
declare
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_steps s join pg_temp.steep_repl_plans p using (no) where s.step = _merge_is_still.step);
  here jsonb;
  answer text;
  n_changed int;
begin
  execute steep_repl._fill(plan -> 'merge' -> 'local' -> 'lock', steep_repl._merge_keys_of(plan, numbers)) into answer;
  here := answer::jsonb;
  with l as (
    select * from rows from (jsonb_array_elements_text(here -> 'n'), jsonb_array_elements_text(here -> 'd')) u(no, digest))
  select count(*) into n_changed
  from unnest(numbers) n(no) join pg_temp.steep_repl_differences d using (no) left join l on l.no::int = d.no
  where l.digest::bigint is distinct from d.local_digest;
  if n_changed > 0 then
    update pg_temp.steep_repl_differences d set action = 'again' where d.no = any (numbers);
  end if;
  return n_changed = 0;
exception when lock_not_available or deadlock_detected then
  update pg_temp.steep_repl_differences d set action = 'again' where d.no = any (numbers);
  return false;
end
$fn$;
comment on function steep_repl._merge_is_still(text, int, int[]) is 'private: whether nobody changed rows here before the peer commits them';

-- Compares rows again that had changed, or could not be locked; how many steps that makes.
create function steep_repl._merge_look_again(connection text, params jsonb) returns int
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  this_round constant int := (select m.round + 1 from pg_temp.steep_repl_merge m);
  plan jsonb;
  target int;
begin
  for target in select t from steep_repl._merge_tables_with_rows() t where t is not null loop
    perform steep_repl._merge_switch(target);
    continue when not exists (select from pg_temp.steep_repl_differences d where d.action = 'again');
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = target;
    update pg_temp.steep_repl_differences d set is_settled = d.action <> 'again';
    perform steep_repl._overlap_look_at_all(connection, plan, true);
    perform steep_repl._overlap_settle(connection, plan, interval '1 min');
    perform steep_repl._merge_choose(connection, plan, params, this_round);
  end loop;
  return steep_repl._merge_steps(this_round);
end
$fn$;
comment on function steep_repl._merge_look_again(text, jsonb) is 'private: compares rows again that changed since';

-- Ends the transaction that a batch left open at the peer. What the peer says when it refuses to commit, as one of a deferred
-- constraint may; where the connection is lost meanwhile, nobody knows, and that is raised.
create function steep_repl._merge_end_batch(
  connection text, is_to_commit boolean, out state text, out message text, out detail text, out hint text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_command(connection, case when is_to_commit then 'commit' else 'rollback' end);
exception when others then
  if sqlstate like '08%' or sqlstate like '57P%' then
    raise;
  end if;
  get stacked diagnostics state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint;
  detail := nullif(detail, '');
  hint := nullif(hint, '');
end
$fn$;
comment on function steep_repl._merge_end_batch(text, boolean) is 'private: ends the transaction of a batch at the peer';

-- What became of a transaction at the peer. The session that it was of may take a moment to notice that we are gone.
create function steep_repl._merge_peer_status(connection text, peer_xid text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + interval '30 s';
  status text;
begin
  loop
    status := steep_repl._peer_json(connection, format('select pg_xact_status(%L::xid8) as status', peer_xid)) -> 0 ->> 'status';
    exit when status <> 'in progress' or clock_timestamp() > deadline;
    perform pg_sleep(0.1);
  end loop;
  if status is null or status = 'in progress' then
    raise exception 'peer: what became of transaction % is not known', peer_xid using errcode = 'object_not_in_prerequisite_state',
      detail = case when status is null then 'It is too old.' else 'It is still running.' end,
      hint = 'It wrote what the last batch of the merge in merge_audit_log says, or nothing.';
  end if;
  return status;
end
$fn$;
comment on function steep_repl._merge_peer_status(text, text) is 'private: whether the peer has committed a transaction';
