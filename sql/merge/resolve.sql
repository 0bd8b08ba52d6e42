-- Settling one conflict that strategy manual has left. In the caller's session: the row is merged as any other is, under
-- locks on both sides, if both images still are those that the caller decided by.

create function steep_repl._resolve_write(conflict_id bigint, choice text, connection text) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_resolve_write';
comment on function steep_repl._resolve_write(bigint, text, text) is 'private: writes the row of a conflict, and what was done; its transaction at the peer is left open, whose id this is, if it wrote there';

create function steep_repl._resolve_settle(conflict_id bigint, connection text) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_resolve_settle';
comment on function steep_repl._resolve_settle(bigint, text) is 'private: asks whether the peer has committed the row of a conflict, where that is in doubt, and settles it if so; NULL: nothing is in doubt';

create function steep_repl._check_no_transaction_block(what text) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_check_no_transaction_block';
comment on function steep_repl._check_no_transaction_block(text) is 'private: refuses what a ROLLBACK could not take back';

create function steep_repl._conflict(conflict_id bigint) returns steep_repl.merge_conflicts
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  conflict steep_repl.merge_conflicts;
begin
  if _conflict.conflict_id is null then
    raise exception 'conflict_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  select c.* into conflict from steep_repl.merge_conflicts c where c.conflict_id = _conflict.conflict_id;
  if not found then
    raise exception 'conflict % does not exist', conflict_id
      using errcode = 'undefined_object', hint = 'See steep_repl.merge_conflicts.';
  end if;
  return conflict;
end
$fn$;
comment on function steep_repl._conflict(bigint) is 'private: a conflict of the caller''s merges';

-- Plans the merge of one row. It makes the temporary tables, so none that the caller has made is believed.
create function steep_repl._resolve_begin(conflict steep_repl.merge_conflicts, choice text, connection text) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  key constant jsonb := jsonb_build_object(
    conflict.table_name, (select jsonb_agg(k.name) from jsonb_object_keys(conflict.key) k(name)));
  facts jsonb;
  plan jsonb;
  found record;
begin
  perform steep_repl._merge_plans(connection, array[conflict.table_name], key, steep_repl._call('resolve_actions', to_jsonb(choice)), null);
  perform steep_repl._resolve_take_turn(connection);
  facts := steep_repl._merge_facts(connection, false);
  perform steep_repl._call('resolve_refuse', facts);
  perform steep_repl._merge_prepare_peer(connection, 'conflict_' || conflict.conflict_id, (facts -> 'replicates')::boolean);
  select p.plan into plan from pg_temp.steep_repl_plans p;
  insert into pg_temp.steep_repl_differences (no, category, key)
  values (1, 'conflict', array(select conflict.key ->> k.name from jsonb_array_elements_text(plan -> 'key') with ordinality k(name, i) order by k.i));
  perform steep_repl._overlap_look_at_all(connection, plan, false);
  select (select l.image from steep_repl._merge_rows_of(r.here) l) as here, (select p.image from steep_repl._merge_rows_of(r.there) p) as there
  into found from steep_repl._merge_read(connection, plan, steep_repl._merge_keys_of(plan, '{1}'), 'manual', false, null) r;
  if exists (select from pg_temp.steep_repl_differences)
     and (found.here, found.there) is distinct from (conflict.local_row, conflict.remote_row) then
    raise exception 'the row has changed since conflict % was found', conflict.conflict_id using errcode = 'serialization_failure',
      detail = format('Here it is %s, at the peer %s.', coalesce(found.here::text, 'gone'), coalesce(found.there::text, 'gone')),
      hint = 'Merge the table again, which brings the conflict up to date.';
  end if;
  update pg_temp.steep_repl_merge set waits = true;
  perform steep_repl._merge_steps(1);
  -- From here on rows are locked on both sides, and others wait for them.
  perform steep_repl._peer_set_deadline(
    connection, 10000 + (extract(epoch from current_setting('steep_repl.lock_timeout')::interval) * 1000)::int);
  return (facts -> 'replicates')::boolean;
end
$fn$;
comment on function steep_repl._resolve_begin(steep_repl.merge_conflicts, text, text) is 'private: plans the merge of the row of a conflict; whether the two sides replicate to each other';

create function steep_repl._merge_drop_tables() returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  drop table pg_temp.steep_repl_plans, pg_temp.steep_repl_differences, pg_temp.steep_repl_tables, pg_temp.steep_repl_steps, pg_temp.steep_repl_merge,
    pg_temp.steep_repl_skipped, pg_temp.steep_repl_seen, pg_temp.steep_repl_earlier;
end
$fn$;
comment on function steep_repl._merge_drop_tables() is 'private: leaves the session as it was';

-- Ends the transaction at the peer. What that wrote is in the audit log by now, and stays there if it cannot be found out
-- whether the peer has committed it: then the conflict stays open, and the next call asks again. An error would take the record
-- back, of what may be written.
create function steep_repl._resolve_end(
  conflict steep_repl.merge_conflicts, target text, peer_xid text, inout connection text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  ended constant record := steep_repl._merge_end_batch(connection, true, peer_xid);
  is_committed boolean := peer_xid is null and ended.state is null;
begin
  if peer_xid is not null then
    begin
      if ended.status is null then
        perform steep_repl._peer_close(connection);
        connection := steep_repl._peer_open(target);
      end if;
      is_committed := steep_repl._resolve_settle(conflict.conflict_id, connection);
    exception when query_canceled or others then
      raise warning 'whether the peer has committed the row of conflict % is not known', conflict.conflict_id
        using detail = concat_ws(' ', ended.message || '.', sqlerrm || '.'),
              hint = 'The conflict stays open, and the row is in merge_audit_log. Call resolve_conflict again, which asks the peer.';
      return;
    end;
  end if;
  if not is_committed then
    perform steep_repl._raise(coalesce(ended.state, '40000'), coalesce(ended.message, 'peer: the row was rolled back instead of committed'),
                              ended.detail, ended.hint);
  end if;
end
$fn$;
comment on function steep_repl._resolve_end(steep_repl.merge_conflicts, text, text, text) is 'private: ends the transaction of a conflict at the peer; the connection, which may be a new one';

create function steep_repl._resolve(conflict steep_repl.merge_conflicts, choice text, target text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  connection text := steep_repl._peer_open(target);
  peer_xid text;
  warning text;
begin
  if steep_repl._resolve_settle(conflict.conflict_id, connection) then
    if choice <> 'local' then
      raise warning 'conflict % was resolved by an earlier call, by the row that is here', conflict.conflict_id;
    end if;
    perform steep_repl._peer_close(connection);
    return;
  end if;
  peer_xid := steep_repl._resolve_write(conflict.conflict_id, choice, connection);
  if exists (select from pg_temp.steep_repl_differences d where d.differs) then
    raise warning 'the row of conflict % was written, and differs still', conflict.conflict_id
      using hint = 'Something at its table, such as a trigger, makes another row of it.';
  end if;
  foreach warning in array steep_repl._merge_not_checked(array(
    select c from (values ('local'), ('peer')) s(side) cross join lateral steep_repl._merge_check_table(connection, s.side, 1) c)) loop
    raise warning '%', warning;
  end loop;
  connection := steep_repl._resolve_end(conflict, target, peer_xid, connection);
  perform steep_repl._merge_close(connection, 'conflict_' || conflict.conflict_id, false);
  perform steep_repl._merge_drop_tables();
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;
comment on function steep_repl._resolve(steep_repl.merge_conflicts, text, text) is 'private: resolve_conflict, once its arguments are checked';

create function steep_repl.resolve_conflict(conflict_id bigint, choice text, peer text default null)
returns steep_repl.merge_conflicts
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  conflict constant steep_repl.merge_conflicts := steep_repl._conflict(resolve_conflict.conflict_id);
  target constant text := coalesce(resolve_conflict.peer, conflict.peer);
begin
  perform steep_repl._check_no_transaction_block('resolve_conflict');
  if choice is null or choice not in ('local', 'remote', 'keep') then
    raise exception 'unknown choice "%"', choice using errcode = 'invalid_parameter_value', hint = 'Use one of local, remote, keep.';
  end if;
  if conflict.status <> 'open' then
    raise exception 'conflict % cannot be resolved', conflict.conflict_id using errcode = 'object_not_in_prerequisite_state',
      detail = format('It was resolved by %I.', conflict.resolved_by);
  elsif conflict.reason <> 'conflict' and choice <> 'keep' then
    raise exception 'conflict % cannot be resolved', conflict.conflict_id using errcode = 'object_not_in_prerequisite_state',
      detail = 'It is a row that had changed before a merge could be undone.',
      hint = format('Change the row on the side where it should be another, or merge its table; then select steep_repl.resolve_conflict(%s, ''keep'').',
                    conflict.conflict_id);
  end if;
  if choice = 'keep' then
    perform steep_repl._resolve_write(conflict.conflict_id, choice, '');
    return steep_repl._conflict(conflict.conflict_id);
  end if;
  if not steep_repl._is_same_peer(target, conflict.peer) then
    raise exception 'the conflict is with another peer' using errcode = 'invalid_parameter_value', detail = format('It is %s.', conflict.peer);
  end if;
  if resolve_conflict.peer is null and steep_repl._is_conninfo(target) then
    raise exception 'peer must be given again' using errcode = 'object_not_in_prerequisite_state',
      detail = 'A connection string is kept in memory only, until the merge ends.',
      hint = format('select steep_repl.resolve_conflict(%s, %L, peer => ''...'')', conflict_id, choice);
  end if;
  perform steep_repl._resolve(conflict, choice, target);
  return steep_repl._conflict(conflict.conflict_id);
end
$fn$;
