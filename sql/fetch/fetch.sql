-- Fetching a snapshot from a peer.

create function steep_repl.start_fetch(
  peer text, snapshot text, output_path text, parallel int default 2, max_rate text default null)
returns steep_repl.snapshots
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  job bigint;
  result steep_repl.snapshots;
  params constant jsonb := steep_repl._call('fetch_params', jsonb_build_object(
    'snapshot', snapshot, 'output_path', output_path, 'parallel', parallel, 'max_rate', max_rate));
begin
  job := steep_repl._queue_peer_job('snapshot_fetch', peer,
    params || jsonb_build_object('output_path', steep_repl._check_output_path(output_path)));
  select s.* into result from steep_repl.snapshots s where s.operation_id = job;
  return result;
end
$fn$;

-- As texts, of which none is taken for granted: a peer may answer anything.
create function steep_repl._fetch_open(connection text, snapshot text, out path text, out manifest_bytes text, out manifest_sha256 text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  answer jsonb;
begin
  answer := steep_repl._peer_json(connection,
    $$select to_regprocedure('steep_repl._snapshot_source(text)') is not null as is_there$$) -> 0;
  if answer -> 'is_there' is distinct from 'true' then
    raise exception 'peer: it has no steep_repl of which snapshots can be fetched' using errcode = 'feature_not_supported',
      hint = 'Create the extension in that database, or update it there.';
  end if;
  answer := steep_repl._peer_json(connection, format(
    'select s.path, s.manifest_bytes, s.manifest_sha256 from steep_repl._snapshot_source(%L) s', snapshot)) -> 0;
  path := answer ->> 'path';
  manifest_bytes := answer ->> 'manifest_bytes';
  manifest_sha256 := answer ->> 'manifest_sha256';
  if path is null or manifest_bytes !~ '^[0-9]{1,18}$' is not false or manifest_sha256 !~ '^[0-9a-f]{64}$' is not false then
    raise exception 'peer: it does not say where the snapshot is' using errcode = 'protocol_violation';
  end if;
end
$fn$;
comment on function steep_repl._fetch_open(text, text) is 'private: where a snapshot is at the peer, with size and digest of its manifest';
