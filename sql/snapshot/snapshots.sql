-- The functions that users call on snapshots, but those of sql/jobs/kind.sql.

create function steep_repl.drop_snapshot(snapshot_id text) returns boolean
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if drop_snapshot.snapshot_id is null then
    raise exception 'snapshot_id must not be null' using errcode = 'invalid_parameter_value';
  end if;
  return steep_repl._drop_snapshot(drop_snapshot.snapshot_id);
end
$fn$;

create function steep_repl.verify_snapshot(path text,
  out file text, out problem text, out expected text, out found text)
returns setof record
language c volatile parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_verify_snapshot';
