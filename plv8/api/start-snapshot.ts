import { query, queryOne } from "../db/sql.ts";
import { invalidArgument, SteepError } from "../db/steep-error.ts";
import { refuseMissingPublications } from "../jobs/snapshot.ts";
import { type SnapshotParams, snapshotParams } from "../jobs/snapshot-params.ts";
import { missingPublications } from "../jobs/snapshot-sql.ts";
import type { PublicFunction } from "./public-function.ts";

/** The names that do not exist, and the canonical form of those that do. */
const resolve = `
  select coalesce((select json_agg(format('%I.%I', n.nspname, c.relname))
                   from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)
                   join pg_class c on c.oid = steep_repl._to_regclass(t.name)
                   join pg_namespace n on n.oid = c.relnamespace), '[]') as tables,
         (select string_agg(t.name, ', ')
          from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)
          where steep_repl._to_regclass(t.name) is null) as missing_tables,
         (select string_agg(distinct n.nspname, ', ')
          from pg_namespace n
          where (n.nspname in ('steep_repl', 'information_schema') or n.nspname ~ '^pg_')
            and (n.nspname in (select s.name from jsonb_array_elements_text(nullif($1 -> 'schemas', 'null')) s(name))
                 or n.oid in (select c.relnamespace from jsonb_array_elements_text(nullif($1 -> 'tables', 'null')) t(name)
                              join pg_class c on c.oid = steep_repl._to_regclass(t.name)))) as refused_schemas,
         (select string_agg(s.name, ', ')
          from jsonb_array_elements_text(nullif($1 -> 'schemas', 'null')) s(name)
          where not exists (select from pg_namespace n where n.nspname = s.name)) as missing_schemas`;

interface Resolved {
  readonly tables: readonly string[];
  readonly missing_tables: string | null;
  readonly missing_schemas: string | null;
  readonly refused_schemas: string | null;
}

/** Refuse names that do not exist; name tables as SQL quotes them. */
function resolveNames(params: SnapshotParams): SnapshotParams {
  if (params.tables === null && params.schemas === null) {
    return params;
  }
  const found = queryOne<Resolved>(resolve, { tables: params.tables, schemas: params.schemas });
  if (found.missing_tables !== null) {
    throw new SteepError({
      sqlstate: "42P01",
      message: `table does not exist: ${found.missing_tables}`,
      hint: "Give each table as schema.table, quoted where SQL would quote it.",
    });
  }
  if (found.missing_schemas !== null) {
    throw new SteepError({
      sqlstate: "3F000",
      message: `schema does not exist: ${found.missing_schemas}`,
    });
  }
  if (found.refused_schemas !== null) {
    throw invalidArgument(
      `schema cannot be part of a snapshot: ${found.refused_schemas}`,
      "System schemas and steep_repl's own belong to each server.",
    );
  }
  return { ...params, tables: params.tables === null ? null : found.tables };
}

function checkLevel(params: SnapshotParams): void {
  if (params.level === null) {
    return;
  }
  const range = queryOne<{ min_level: number; max_level: number }>(
    `select r.min_level, r.max_level from steep_repl._level_range($1 ->> 'compression') r`,
    { compression: params.compression },
  );
  if (params.level < range.min_level || params.level > range.max_level) {
    throw invalidArgument(
      `level must be between ${range.min_level} and ${range.max_level} for ${params.compression}`,
    );
  }
}

const slotFacts = `
  select ${missingPublications},
         (select r.rolreplication or r.rolsuper from pg_roles r where r.rolname = current_user) as may_replicate,
         current_setting('wal_level') as wal_level`;

interface SlotFacts {
  readonly missing_publications: string | null;
  readonly may_replicate: boolean;
  readonly wal_level: string;
}

/** What a slot needs, said before a job is queued for nothing. */
function checkSlot(params: SnapshotParams): void {
  if (params.slot_name === null) {
    return;
  }
  const facts = queryOne<SlotFacts>(slotFacts, { publications: params.publications });
  if (!facts.may_replicate) {
    throw new SteepError({
      sqlstate: "42501",
      message: "permission denied to create a replication slot",
      hint: "Grant the attribute with ALTER ROLE name REPLICATION.",
    });
  }
  if (facts.wal_level !== "logical") {
    throw new SteepError({
      sqlstate: "55000",
      message: `a logical slot needs wal_level = logical, not ${facts.wal_level}`,
      hint: "Set it in postgresql.conf and restart the server.",
    });
  }
  refuseMissingPublications(facts);
}

/** A label for an unregistered node is fine; one that is registered elsewhere is a mistake. */
function checkNode(nodeId: string | null): void {
  if (nodeId === null) {
    return;
  }
  const foreign = query(
    `select 1 as found from steep_repl.nodes n where n.node_id = $1 ->> 'node_id'
     and n.system_identifier <> steep_repl._system_identifier()`,
    { node_id: nodeId },
  );
  if (foreign.length > 0) {
    throw invalidArgument(
      `node "${nodeId}" is registered as another cluster`,
      "Call start_snapshot on that node, or give the name of this one.",
    );
  }
}

/** Queue a snapshot of this database. */
export const startSnapshot: PublicFunction = {
  name: "start_snapshot",
  args: [
    { name: "output_path", type: "text" },
    { name: "compression", type: "text", default: `'zstd'` },
    { name: "parallel", type: "int", default: "4" },
    { name: "level", type: "int", default: "null" },
    { name: "tables", type: "text[]", default: "null" },
    { name: "schemas", type: "text[]", default: "null" },
    { name: "slot_name", type: "text", default: "null" },
    { name: "publications", type: "text[]", default: "null" },
    { name: "node_id", type: "text", default: "null" },
    { name: "large_objects", type: "text", default: `'refuse'` },
  ],
  returns: { kind: "row", table: "snapshots", key: "snapshot_id" },
  volatility: "volatile",
  comment:
    "queues a consistent, compressed snapshot of this database into a directory on the server; returns at once",
  run(args) {
    const params = resolveNames(snapshotParams(args));
    checkLevel(params);
    checkNode(params.node_id);
    checkSlot(params);
    const path = queryOne<{ path: string }>(
      `select steep_repl._check_output_path($1 ->> 'path') as path`,
      { path: params.output_path },
    ).path;
    return queryOne<{ snapshot_id: string }>(
      `insert into steep_repl.work_queue (operation, params)
       values ('snapshot_generate', $1) returning snapshot_id`,
      { ...params, output_path: path },
    );
  },
};
