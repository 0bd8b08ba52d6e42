-- What the coordinator of a merge asks as the requester, whose temporary tables these are.

create function steep_repl._merge_open(
  connection text, params jsonb, is_undo boolean, out n_tables int, out names text, out keys text, out facts text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  n_tables := case
    when is_undo then steep_repl._undo_plans(connection, params)
    else steep_repl._merge_plans(
      connection, steep_repl._texts(params -> 'tables'), nullif(params -> 'primary_keys', 'null'),
      steep_repl._call('merge_actions', params), params ->> 'last_modified_column') end;
  update pg_temp.steep_repl_merge set overlap_id = params ->> 'overlap_id';
  select coalesce(array_agg(t.name order by t.no), '{}')::text, coalesce(array_agg(k.key order by t.no), '{}')::text
  into names, keys
  from pg_temp.steep_repl_tables t join pg_temp.steep_repl_plans p using (no)
  cross join lateral (select steep_repl._texts(p.plan -> 'key')::text as key) k;
  facts := steep_repl._merge_facts(connection, is_undo);
end
$fn$;
comment on function steep_repl._merge_open(text, jsonb, boolean) is 'private: plans the tables of a merge: how many, their names and keys, and what decides whether it may begin';

create function steep_repl._merge_begin(connection text, merge_id text, replicates boolean, discards boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._merge_prepare_peer(connection, merge_id, replicates);
  if discards then
    perform steep_repl._merge_ignore_replication(connection);
  end if;
end
$fn$;
comment on function steep_repl._merge_begin(text, text, boolean, boolean) is 'private: prepares both sides of a merge';

create function steep_repl._merge_first_steps(connection text, out colliding bigint, out examples text, out n_steps int)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select c.colliding, coalesce(to_json(c.examples)::text, 'null') into colliding, examples from steep_repl._merge_check_unique(connection) c;
  n_steps := steep_repl._merge_steps(1);
end
$fn$;
comment on function steep_repl._merge_first_steps(text) is 'private: rows that a unique index would refuse, examples as JSON; and how many steps the merge has';

create function steep_repl._merge_step(step int, out no int, out action text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select s.no, s.action into no, action from pg_temp.steep_repl_steps s where s.step = _merge_step.step;
end
$fn$;
comment on function steep_repl._merge_step(int) is 'private: what a step of a merge does, and with which table';
