-- What the coordinator of a merge asks as the requester, whose temporary tables these are.

create function steep_repl._merge_open(
  connection text, params jsonb, is_undo boolean, out n_tables int, out names text, out keys text, out facts text, out skipped text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  n_tables := case
    when is_undo then steep_repl._undo_plans(connection, params)
    else steep_repl._merge_plans(
      connection, steep_repl._texts(params -> 'tables'), nullif(params -> 'primary_keys', 'null'),
      steep_repl._call('merge_actions', params), params ->> 'last_modified_column', steep_repl._call('table_scope', params)) end;
  update pg_temp.steep_repl_merge set overlap_id = params ->> 'overlap_id', undoes = params ->> 'undoes';
  select coalesce(array_agg(t.name order by t.no), '{}')::text, coalesce(array_agg(k.key order by t.no), '{}')::text
  into names, keys
  from pg_temp.steep_repl_tables t join pg_temp.steep_repl_plans p using (no)
  cross join lateral (select steep_repl._texts(p.plan -> 'key')::text as key) k;
  facts := steep_repl._merge_facts(connection, is_undo)
           || jsonb_build_object('taken_back', case when is_undo then steep_repl._undone_by(params ->> 'undoes') end);
  skipped := steep_repl._skipped_tables();
  update pg_temp.steep_repl_merge m set facts = _merge_open.facts::jsonb;
end
$fn$;
comment on function steep_repl._merge_open(text, jsonb, boolean) is 'private: plans the tables of a merge: how many, their names and keys, and what decides whether it may begin';

-- Whether a merge, or an undo, may begin that this transaction has queued, by what its job would ask: raises the error that the job
-- would end with before it compares. The command line asks so before a long comparison and a question, and rolls the transaction back.
create function steep_repl._merge_try(operation_id bigint, peer text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp @SET_READING@ as $fn$
declare
  job constant steep_repl.work_queue := steep_repl._operation(operation_id);
  connection text;
begin
  connection := steep_repl._peer_open(peer);
  perform steep_repl._call('next_action', jsonb_build_object(
    'operation', job.operation, 'done', 'open_peer', 'params', job.params, 'facts',
    (steep_repl._merge_open(connection, job.params, job.operation = 'merge_undo')).facts::jsonb));
  perform steep_repl._peer_close(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;
comment on function steep_repl._merge_try(bigint, text) is 'private: refuses what a merge would refuse before it compares';

-- What decides whether a merge may begin, but for what changes all the time.
create function steep_repl._merge_lasting_facts(facts jsonb) returns jsonb
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return facts - '{clock_difference,taken_back,backlog,waiting_slots,apply_errors,skipping,resuming,lost,skipped}'::text[]
       || jsonb_build_object('waits', facts -> 'backlog' <> 'null');
comment on function steep_repl._merge_lasting_facts(jsonb) is 'private: facts of a merge that are compared';

-- After a merge has waited for others, that has to be as it was when it was allowed.
create function steep_repl._merge_refuse_anew(connection text, is_undo boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if steep_repl._merge_lasting_facts(steep_repl._merge_facts(connection, is_undo))
       <> (select steep_repl._merge_lasting_facts(m.facts) from pg_temp.steep_repl_merge m) then
    raise exception 'what the merge was allowed for has changed while it waited for another one' using errcode = 'object_not_in_prerequisite_state',
      hint = 'Nothing was written. retry_operation() looks at it again.';
  end if;
end
$fn$;
comment on function steep_repl._merge_refuse_anew(text, boolean) is 'private: refuses a merge where something has changed while it waited';

create function steep_repl._merge_begin(connection text, merge_id text, replicates boolean, discards boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._merge_prepare_peer(connection, merge_id, replicates);
  perform steep_repl._merge_note_earlier(merge_id);
  if replicates then
    perform steep_repl._merge_use_origin_here(array(select l from steep_repl._overlap_links(connection) l));
  end if;
  if discards then
    perform steep_repl._merge_ignore_replication();
  end if;
end
$fn$;
comment on function steep_repl._merge_begin(text, text, boolean, boolean) is 'private: prepares both sides of a merge';

-- What earlier attempts of the merge have written is equal by now, so that comparing does not find it. Its foreign keys have yet to be
-- checked, and its sequences to be moved.
create function steep_repl._merge_note_earlier(merge_id text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
begin
  update pg_temp.steep_repl_merge m set merge_id = _merge_note_earlier.merge_id;
  insert into pg_temp.steep_repl_earlier (name, no, side)
  select distinct a.table_name, t.no, case when a.action like '%remote' then 'peer' else 'local' end
  from steep_repl.merge_audit_log a left join pg_temp.steep_repl_tables t on t.name = a.table_name
  where a.merge_id = _merge_note_earlier.merge_id;
end
$fn$;
comment on function steep_repl._merge_note_earlier(text) is 'private: notes the tables that earlier attempts of a merge have written to';

-- All is compared, and nothing written yet: a table that was dropped or altered meanwhile is found now.
create function steep_repl._merge_check_tables(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  differing text;
begin
  perform steep_repl._overlap_check_facts(connection, p.plan) from pg_temp.steep_repl_plans p;
  differing := steep_repl._joined(steep_repl._merge_differing(connection, array(select t.name from pg_temp.steep_repl_tables t)));
  if differing is not null then
    raise exception 'tables to be merged were changed while they were compared' using errcode = 'object_not_in_prerequisite_state',
      detail = format('Now they are defined in different ways here and at the peer: %s.', differing),
      hint = 'Nothing was written. See steep_repl.schema_diff(), then start the merge again.';
  end if;
end
$fn$;
comment on function steep_repl._merge_check_tables(text) is 'private: refuses tables that were changed since a merge began';

-- A warning about tables that are not as they were planned, if there are any. A peer that does not answer says nothing of them.
create function steep_repl._merge_changed_tables(connection text) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  names constant text[] := array(select t.name from pg_temp.steep_repl_tables t);
  plan jsonb;
  changed text[] := '{}';
  found record;
begin
  perform steep_repl._peer_set_deadline(connection, 2000);
  perform steep_repl._peer_command(connection, 'rollback');
  for plan in select p.plan from pg_temp.steep_repl_plans p order by p.no loop
    begin
      perform steep_repl._overlap_check_facts(connection, plan);
    exception when object_not_in_prerequisite_state then
      changed := changed || (plan ->> 'table');
    end;
  end loop;
  found := steep_repl._table_fingerprints(connection, names);
  -- also what was changed on both sides in the same way, such as by a trigger
  changed := changed || steep_repl._tables_unlike(names, found.here, (select m.facts -> 'fingerprints' from pg_temp.steep_repl_merge m))
    || steep_repl._tables_unlike(names, found.here, found.there);
  return case when cardinality(changed) > 0 then array['tables were changed while they were merged: ' || steep_repl._joined(
    array(select distinct c.name from unnest(changed) c(name) order by 1)) || ' (compare them again; merge_audit_log has what was written before)'] else '{}' end;
exception when query_canceled or others then
  return '{}';
end
$fn$;
comment on function steep_repl._merge_changed_tables(text) is 'private: says which tables were changed since a merge began';

-- Warnings about a merge that ends early, or an undo.
create function steep_repl._merge_unfinished(connection text) returns text[]
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
begin
  return case when exists (
    select from pg_temp.steep_repl_merge m join steep_repl.merge_audit_log a using (merge_id) where not m.has_moved_sequences) then array[
    'of the rows that it has written, neither were foreign keys checked that triggers would have, nor sequences moved past them'
    || ' (retry_operation() goes on, undo_merge() takes a merge back)'] else '{}' end || steep_repl._merge_changed_tables(connection);
end
$fn$;
comment on function steep_repl._merge_unfinished(text) is 'private: warnings about a merge that ends early';

create function steep_repl._merge_first_steps(connection text, out colliding bigint, out collisions text, out n_steps int)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._merge_check_tables(connection);
  select c.colliding, coalesce(c.collisions::text, 'null') into colliding, collisions from steep_repl._merge_check_unique(connection, false) c;
  n_steps := steep_repl._merge_steps(1);
end
$fn$;
comment on function steep_repl._merge_first_steps(text) is 'private: rows that a unique index would refuse, as JSON; and how many steps the merge has';

create function steep_repl._merge_step(step int, out no int, out action text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select s.no, s.action into no, action from pg_temp.steep_repl_steps s where s.step = _merge_step.step;
end
$fn$;
comment on function steep_repl._merge_step(int) is 'private: what a step of a merge does, and with which table';
