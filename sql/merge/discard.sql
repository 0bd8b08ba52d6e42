-- Throwing away what waits to be replicated between the two sides, which the merge makes up for.

create function steep_repl._merge_ignore_replication() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_plans set plan = plan || '{"ignores_replication": true}';
end
$fn$;
comment on function steep_repl._merge_ignore_replication() is 'private: has tables compared as if nothing were in flight';

-- What the roles of both sides lack to discard a backlog, if there is anything: slots are moved on, and tables that the merge leaves out
-- are compared and locked as well.
create function steep_repl._merge_lacks_to_discard(connection text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  query constant text := format($sql$
    select array(select 'the REPLICATION attribute' from pg_roles r where r.rolname = current_user and not r.rolsuper and not r.rolreplication)
        || array(select format('%%s (%%s)', n.name, concat_ws(', ', case when not has_table_privilege(n.name, 'SELECT') then 'SELECT' end,
                                                           case when not has_table_privilege(n.name, 'UPDATE, DELETE, TRUNCATE') then 'UPDATE' end))
                 from unnest(%L::text[]) n(name)
                 where to_regclass(n.name) is not null
                   and not (has_table_privilege(n.name, 'SELECT') and has_table_privilege(n.name, 'UPDATE, DELETE, TRUNCATE')) order by n.name) as missing$sql$,
    (select m.not_covered from pg_temp.steep_repl_merge m));
begin
  return steep_repl._joined(array(
    select x.at || m.name
    from (values ('', steep_repl._query_here(query)), ('peer: ', steep_repl._peer_json(connection, query))) x(at, answer)
    cross join lateral jsonb_array_elements_text(x.answer -> 0 -> 'missing') with ordinality m(name, i) order by x.at, m.i));
end
$fn$;
comment on function steep_repl._merge_lacks_to_discard(text) is 'private: rights that are missing to discard a backlog';

-- Locks tables on both sides until the transactions there end, so that nobody writes to them. One statement locks them all, in an order that
-- all merges have, the side with the smaller identity first.
create function steep_repl._merge_lock_tables(connection text, tables text[]) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  command constant text := format('lock table %s in share mode', array_to_string(array(select n from unnest(tables) n order by n), ', '));
  is_local_first constant boolean := (select m.is_local_first from pg_temp.steep_repl_merge m);
begin
  perform steep_repl._peer_command(connection, 'begin');
  if is_local_first then
    execute command;
  end if;
  perform steep_repl._peer_command(connection, command);
  if not is_local_first then
    execute command;
  end if;
exception when lock_not_available then
  raise exception '%: the tables could not be locked, so the backlog cannot be discarded', sqlerrm using errcode = 'lock_not_available',
    hint = 'Retry when transactions that write to these tables are over, or raise steep_repl.lock_timeout.';
end
$fn$;
comment on function steep_repl._merge_lock_tables(text, text[]) is 'private: keeps others from writing to tables on both sides';

-- Of tables that the merge leaves out, though what waits is about them too: those that differ. They are compared before they are locked,
-- and once more then.
create function steep_repl._merge_left_out(connection text, names text[], is_locked boolean) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  target record;
  planned record;
  counts record;
  differing text[] := '{}';
begin
  perform steep_repl._merge_switch(0);
  for target in select * from steep_repl._overlap_targets(nullif(names, '{}'), null) where cardinality(names) > 0 loop
    planned := steep_repl._try_plan(connection, target.name, target.schema_name, target.relation_name, null, null, null);
    if planned.problem is not null then
      differing := differing || format('%s (%s)', target.name, planned.problem ->> 'message');
      continue;
    end if;
    counts := steep_repl._overlap_table(connection, planned.plan || jsonb_build_object('ignores_replication', true, 'is_locked', is_locked), interval '0');
    if counts.local_only_count + counts.remote_only_count + counts.conflict_count + counts.unsettled_count > 0 then
      differing := differing || target.name;
    end if;
    delete from pg_temp.steep_repl_differences;
  end loop;
  return steep_repl._joined(differing);
end
$fn$;
comment on function steep_repl._merge_left_out(text, text[], boolean) is 'private: tables that differ and are no part of the merge';

-- Moves on those slots only that were named before the merge began, whatever the peer says of its subscriptions by now. They go as far as
-- what is on disk: so what was compared has to be, of transactions that do not wait for it, too.
create function steep_repl._merge_advance_slots(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  slots constant record := steep_repl._overlap_slots(connection);
  advance constant text := $sql$
    select pg_replication_slot_advance(s.slot_name, pg_current_wal_flush_lsn())::text as advanced
    from pg_replication_slots s where s.slot_name = any (%L::text[]) and s.slot_type = 'logical' and s.plugin = 'pgoutput'
      and s.database = current_database() and not s.active and s.confirmed_flush_lsn < pg_current_wal_flush_lsn()
      -- what is lost is thrown away already
      and s.wal_status is distinct from 'lost' $sql$;
  used text;
begin
  select string_agg(quote_ident(s.slot_name), ', ') into used
  from pg_replication_slots s, pg_temp.steep_repl_merge m where s.slot_name = any (m.waiting_slots) and s.active;
  if used is not null then
    raise exception 'changes that wait to be replicated cannot be discarded while they are being sent' using errcode = 'object_in_use',
      detail = format('Replication slots: %s.', used), hint = 'Disable those subscriptions first: ALTER SUBSCRIPTION ... DISABLE.';
  end if;
  perform pg_logical_emit_message(false, 'steep_repl', '', true);
  perform steep_repl._merge_flush_peer(connection);
  perform steep_repl._query_here(format(advance, (select m.waiting_slots from pg_temp.steep_repl_merge m)));
  perform steep_repl._peer_json(connection, format(advance, slots.from_peer));
end
$fn$;
comment on function steep_repl._merge_advance_slots(text) is 'private: moves slots between the two sides on to where they are now';

-- What has changed in the tables since they were compared is compared again while nobody can write to them, and then what waits is thrown
-- away: so each change is either in the rows that were compared, or in what will be sent. Counts of each table as JSON, as _merge_compare has them; and how many steps there are now.
create function steep_repl._merge_discard_backlog(connection text, out counts text, out n_steps int)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  others constant text[] := (select m.not_covered from pg_temp.steep_repl_merge m);
  found jsonb := '[]';
  target int;
  differing text;
begin
  perform steep_repl._merge_left_out(connection, others, false);
  perform steep_repl._merge_lock_tables(connection, array(select t.name from pg_temp.steep_repl_tables t) || others);
  update pg_temp.steep_repl_plans set plan = plan || '{"is_locked": true}';
  for target in select t.no from pg_temp.steep_repl_tables t order by t.no loop
    found := found || (select to_jsonb(array[c.local_only_count, c.remote_only_count, c.match_count, c.conflict_count, c.unsettled_count])
                       from steep_repl._merge_compare(connection, target) c);
  end loop;
  differing := steep_repl._merge_left_out(connection, others, true);
  if differing is not null then
    raise exception 'changes that wait to be replicated cannot be discarded, since tables that the merge leaves out differ' using
      errcode = 'object_not_in_prerequisite_state', detail = differing || '.', hint = 'Merge them, too; or name them in exclude_tables, and they stay as they are on each side.';
  end if;
  perform steep_repl._merge_advance_slots(connection);
  perform steep_repl._peer_command(connection, 'commit');
  update pg_temp.steep_repl_plans set plan = plan - 'is_locked';
  counts := found::text;
  -- these are other rows than those that were checked: what collides by now is refused when it is written
  perform steep_repl._merge_check_unique(connection, false);
  n_steps := steep_repl._merge_steps(1);
end
$fn$;
comment on function steep_repl._merge_discard_backlog(text) is 'private: throws away what waits to be replicated';
