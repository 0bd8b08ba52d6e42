-- What a node that fetches a snapshot asks of the one that has it.

create function steep_repl._snapshot_piece(path text, file text, start bigint, length int) returns bytea
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_snapshot_piece';
comment on function steep_repl._snapshot_piece(text, text, bigint, int) is 'private: bytes of a file of a snapshot that the caller may read, fewer at the end of the file';

create function steep_repl._snapshot_manifest(path text, out bytes bigint, out sha256 text)
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_snapshot_manifest';
comment on function steep_repl._snapshot_manifest(text) is 'private: size and digest of the manifest of a snapshot that the caller may read';

create function steep_repl._snapshot_source(snapshot text, out path text, out manifest_bytes text, out manifest_sha256 text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  found_status text;
  found_operation text;
begin
  path := snapshot;
  if not starts_with(snapshot, '/') then
    select s.storage_path, s.status, s.operation into path, found_status, found_operation
    from steep_repl.snapshots s
    where s.snapshot_id = snapshot and steep_repl._is_here(s.system_identifier, s.database_oid);
    if not found then
      raise exception 'snapshot "%" does not exist', snapshot using errcode = 'undefined_object',
        hint = 'Name a snapshot_id of steep_repl.snapshots of that database which its user may see, or the path of a snapshot there.';
    end if;
    if found_operation = 'apply' then
      raise exception '"%" is an apply, and no snapshot', snapshot using errcode = 'wrong_object_type',
        hint = 'Name the snapshot that it has loaded: source_snapshot_id.';
    end if;
    if found_status <> 'complete' then
      raise exception 'snapshot "%" is %', snapshot, found_status using errcode = 'object_not_in_prerequisite_state',
        hint = 'Wait until it is complete, or take another one.';
    end if;
  end if;
  select m.bytes::text, m.sha256 into manifest_bytes, manifest_sha256 from steep_repl._snapshot_manifest(path) m;
end
$fn$;
comment on function steep_repl._snapshot_source(text) is 'private: where a snapshot of this id or path is, with size and digest of its manifest';
