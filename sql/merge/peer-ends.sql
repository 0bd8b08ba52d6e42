-- How transactions at the peer end, and how that is found out where the answer was lost.

-- Ends the transaction that a batch left open at the peer. What became of what it wrote there, NULL where that is not known: it
-- is asked for, since neither an error says that it was rolled back, nor the want of one that it was committed. And what went
-- wrong, as an error of a deferred constraint.
create function steep_repl._merge_end_batch(
  connection text, is_to_commit boolean, peer_xid text,
  out status text, out state text, out message text, out detail text, out hint text)
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  ask constant text := coalesce(format('select pg_xact_status(%L::xid8)', peer_xid), '');
begin
  perform steep_repl._peer_send(connection, case when is_to_commit then 'commit; ' else 'rollback; ' end || ask);
  status := steep_repl._peer_answer(connection);
exception when query_canceled or others then
  get stacked diagnostics state = returned_sqlstate, message = message_text, detail = pg_exception_detail, hint = pg_exception_hint;
  detail := nullif(detail, '');
  hint := nullif(hint, '');
  begin
    perform steep_repl._peer_send(connection, ask);
    status := steep_repl._peer_answer(connection);
  exception when query_canceled or others then
    null; -- a new connection may tell
  end;
end
$fn$;
comment on function steep_repl._merge_end_batch(text, boolean, text) is 'private: ends the transaction of a batch at the peer; what became of it';

-- What became of a transaction at the peer. The session that it was of may take a moment to notice that we are gone.
create function steep_repl._merge_peer_status(connection text, peer_xid text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + interval '30 s';
  status text;
begin
  loop
    status := steep_repl._peer_json(connection, format('select pg_xact_status(%L::xid8) as status', peer_xid)) -> 0 ->> 'status';
    exit when status is distinct from 'in progress' or clock_timestamp() > deadline;
    perform pg_sleep(0.1);
  end loop;
  if status is null or status not in ('committed', 'aborted') then
    raise exception 'peer: what became of transaction % is not known', peer_xid using errcode = 'object_not_in_prerequisite_state',
      detail = case when status is null then 'It is too old.' when status = 'in progress' then 'It is still running.'
                    else 'The answer is none that a server gives.' end,
      hint = 'It wrote what the last batch of the merge in merge_audit_log says, or nothing.';
  end if;
  return status;
end
$fn$;
comment on function steep_repl._merge_peer_status(text, text) is 'private: whether the peer has committed a transaction';
