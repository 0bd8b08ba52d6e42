import { query, queryOne } from "../db/sql.ts";
import { invalidArgument, SteepError } from "../db/steep-error.ts";
import { refuseMissingPublications } from "../snapshot/snapshot.ts";
import { type NameFacts, nameColumns, namedCtes, refuseNames } from "../snapshot/snapshot-names.ts";
import { type SnapshotParams, snapshotParams } from "../snapshot/snapshot-params.ts";
import { missingPublications } from "../snapshot/snapshot-sql.ts";
import type { PublicFunction } from "./public-function.ts";

/** Which names do not fit, and the canonical form of the tables. */
const resolve = `
  with ${namedCtes}
  select ${nameColumns},
         (select json_agg(format('%I.%I', n.nspname, c.relname))
          from named_table t join pg_class c on c.oid = t.oid
          join pg_namespace n on n.oid = c.relnamespace) as tables`;

/** Refuse names that do not fit; name tables as SQL quotes them. */
function resolveNames(params: SnapshotParams): SnapshotParams {
  if (params.tables === null && params.schemas === null) {
    return params;
  }
  const found = queryOne<NameFacts & { readonly tables: readonly string[] | null }>(resolve, {
    tables: params.tables,
    schemas: params.schemas,
  });
  refuseNames(found);
  return { ...params, tables: found.tables };
}

/** Whether patterns are regular expressions is for PostgreSQL to say. */
function checkPatterns({ exclude }: SnapshotParams): void {
  if (exclude !== null) {
    query("select steep_repl._check_scope($1)", { exclude });
  }
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
    { name: "large_objects", type: "text", default: `'copy'` },
    { name: "exclude_tables", type: "text[]", default: "null" },
  ],
  returns: { kind: "row", table: "snapshots", key: "snapshot_id" },
  volatility: "volatile",
  run(args) {
    const params = resolveNames(snapshotParams(args));
    checkPatterns(params);
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
