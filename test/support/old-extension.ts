import { cp, mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { giveToServer } from "./data-directory.ts";
import type { Server } from "./server.ts";

/*
 * The predecessor's extension, 0.1.0, as lists of its objects describe it: that was the name of a dozen states. Its functions
 * do nothing here; those in C have lost their library's symbols, as they have once ours is installed in its place.
 */

export type OldShape = "minimal" | "main" | "queue" | "all";

const nodes = `
  create schema steep_repl;
  create table steep_repl.nodes (
    node_id text primary key, node_name text not null, host text not null, port int not null default 5432,
    grpc_host text, grpc_port int, priority int not null default 50, is_coordinator boolean default false,
    last_seen timestamptz, status text, init_state text default 'uninitialized', init_source_node text,
    init_started_at timestamptz, init_completed_at timestamptz);
  create table steep_repl.coordinator_state (key text primary key, value jsonb);
  create table steep_repl.audit_log (id bigserial primary key, occurred_at timestamptz default now(), action text, details jsonb);
  create function steep_repl_version() returns text language c as '$libdir/steep_repl', 'steep_repl_raise';
  create function steep_repl_min_pg_version() returns int language sql return 180000;
  update pg_catalog.pg_proc set prosrc = 'gone' where proname = 'steep_repl_version'`;

const main = `
  create type steep_repl.overlap_category as enum ('match', 'conflict', 'local_only', 'remote_only');
  create type steep_repl.overlap_result as (pk_value jsonb, category steep_repl.overlap_category);
  create type steep_repl.overlap_summary as (total bigint, matches bigint);
  create table steep_repl.init_progress (node_id text primary key references steep_repl.nodes, phase text);
  create table steep_repl.schema_fingerprints (table_schema text, table_name text, fingerprint text, primary key (table_schema, table_name));
  create table steep_repl.init_slots (slot_name text primary key, node_id text, lsn pg_lsn, created_at timestamptz default now(),
    expires_at timestamptz, used_by_node text, used_at timestamptz);
  create table steep_repl.snapshots (snapshot_id text primary key, source_node_id text references steep_repl.nodes, lsn pg_lsn, storage_path text);
  create table steep_repl.merge_audit_log (id bigserial primary key, merge_id uuid not null, table_schema text, table_name text, pk_value jsonb,
    category steep_repl.overlap_category not null default 'conflict', resolution text, node_a_value jsonb, node_b_value jsonb,
    resolved_at timestamptz default now(), resolved_by text);
  create function steep_repl.compute_fingerprint(text, text) returns text language sql return $1 || $2;
  create function steep_repl.capture_fingerprint(a text, b text) returns text language sql return steep_repl.compute_fingerprint(a, b);
  create function steep_repl.row_hash(anyelement) returns bigint language sql as 'select hashtextextended($1::text, 0)';
  create function steep_repl.compare_table_rows(text) returns setof steep_repl.overlap_result language sql as 'select null::jsonb, ''match''::steep_repl.overlap_category';
  create function steep_repl.compare_table_summary(text) returns steep_repl.overlap_summary language sql as 'select row(1, 1)::steep_repl.overlap_summary';
  create function steep_repl.log_merge_decision() returns void language sql as '';
  create function steep_repl.notify_snapshot_change() returns trigger language plpgsql as 'begin return null; end';
  create trigger snapshot_notify after insert on steep_repl.snapshots for each row execute function steep_repl.notify_snapshot_change();
  create function steep_repl.notify_merge() returns trigger language plpgsql as 'begin return null; end';
  create trigger merge_notify after insert on steep_repl.merge_audit_log for each row execute function steep_repl.notify_merge();
  create view steep_repl.merge_summary as select merge_id, category, count(*) as n from steep_repl.merge_audit_log group by 1, 2`;

const queue = `
  create table steep_repl.work_queue (id bigserial primary key, operation text not null, status text not null default 'pending', params jsonb);
  create table steep_repl.merge_operations (merge_id uuid primary key, remote_connstr text, status text);
  create table steep_repl.databases (name text primary key);
  create table steep_repl.snapshot_progress (snapshot_id text primary key, phase text);
  create function steep_repl.claim_work() returns setof steep_repl.work_queue language sql as 'select * from steep_repl.work_queue where false';
  create function steep_repl.start_snapshot(text, text, int) returns text language sql return $1;
  create function steep_repl.register_node(text, text, text, int, int) returns text language sql return $1;
  create function steep_repl.health() returns table (status text) language sql as 'select ''healthy''';
  create function steep_repl.node_status(text) returns text language sql return $1;
  create procedure steep_repl.recover_abandoned_work() language sql as '';
  create sequence steep_repl.some_sequence`;

const shapes: Readonly<Record<OldShape, readonly string[]>> = {
  minimal: [nodes],
  main: [nodes, main],
  queue: [nodes, queue],
  all: [nodes, main, queue],
};

/** Have a server find the predecessor's extension, in one of its states, beside ours. */
export async function offerOldExtension(server: Server, shape: OldShape): Promise<void> {
  const [row] = await server.query<{ path: string }>(
    "select pg_catalog.current_setting('extension_control_path') as path",
  );
  const stage = (row?.path ?? "").split(":").at(-1) ?? "";
  const own = join(server.home, `old-${shape}`, "extension");
  await mkdir(own, { recursive: true });
  for (const file of await readdir(join(stage, "extension")))
    if (file.startsWith("steep_repl")) await cp(join(stage, "extension", file), join(own, file));
  await writeFile(join(own, "steep_repl--0.1.0.sql"), `${shapes[shape].join(";\n")};\n`);
  // it had no schema of its own: its functions in C are where CREATE EXTENSION was run
  await writeFile(join(own, "steep_repl--0.1.0.control"), "schema = 'public'\nrequires = ''\n");
  await giveToServer(dirname(own));
  await server.query(`alter system set extension_control_path = '${dirname(own)}:${row?.path}'`);
  await server.query("select pg_reload_conf()");
}
