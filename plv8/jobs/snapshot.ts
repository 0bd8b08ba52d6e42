import { SteepError } from "../db/steep-error.ts";
import type { Action, Done } from "./action.ts";
import { type NameFacts, refuseNames } from "./snapshot-names.ts";
import type { SnapshotParams } from "./snapshot-params.ts";
import { filterQuery, fingerprintsQuery, matviewsQuery, tablesQuery } from "./snapshot-sql.ts";

/** What the planner decides by. Counts are text where they are 64-bit in SQL. */
export interface SnapshotFacts extends Partial<NameFacts> {
  /** before anything is done: names of what the requester may not read, joined */
  readonly unreadable?: string | null;
  /** before anything is done: number of large objects that the snapshot would leave out */
  readonly large_objects?: string;
  /** after `plan`: number of tables */
  readonly tables?: number;
  /** after `plan`: objects that the shared lock table holds, and of it by one unit of the setting */
  readonly lock_table_size?: string;
  readonly max_locks_per_transaction?: string;
  /** after `dump_schema` and `lock`: what changed between the snapshot and the locks */
  readonly changed?: string;
  /** with `changed`: how many snapshots were taken so far */
  readonly attempts?: number;
}

export interface SnapshotJob {
  readonly done: Done;
  readonly params: SnapshotParams;
}

/** How often a job takes another snapshot because a table changed meanwhile. */
const maxAttempts = 10;

/** Locks that pg_dump and the catalogs need besides one a table. */
const otherLocks = 500;

function refuseUnreadable(facts: SnapshotFacts): void {
  if (facts.unreadable) {
    throw new SteepError({
      sqlstate: "42501",
      message: "permission denied to read everything that the snapshot would contain",
      detail: facts.unreadable,
      hint: "Grant SELECT on them (and USAGE on their schemas), or limit the snapshot with tables or schemas.",
    });
  }
}

function refuseLargeObjects(params: SnapshotParams, facts: SnapshotFacts): void {
  if (params.large_objects === "refuse" && Number(facts.large_objects ?? "0") > 0) {
    throw new SteepError({
      sqlstate: "0A000",
      message: `this database has ${facts.large_objects} large objects, which a snapshot does not contain`,
      hint: "Pass large_objects => 'skip' to leave them out.",
    });
  }
}

/** A lock a table must fit into the shared lock table; say how large it must be. */
function refuseTooManyLocks(facts: SnapshotFacts): void {
  const needed = (facts.tables ?? 0) + otherLocks;
  const size = Number(facts.lock_table_size);
  const setting = Number(facts.max_locks_per_transaction);
  if (needed <= size) {
    return;
  }
  const enough = Math.ceil((needed * setting) / size);
  throw new SteepError({
    sqlstate: "53400",
    message: `the lock table is too small for ${facts.tables} tables`,
    detail: `It holds ${size} locks; the snapshot needs ${needed}.`,
    hint: `Set max_locks_per_transaction to at least ${enough} and restart the server.`,
  });
}

/**
 * The snapshot is from before the change: start over with a new one. What
 * changes again and again is named instead.
 */
function takeAnother(facts: SnapshotFacts): Action {
  if ((facts.attempts ?? 0) < maxAttempts) {
    return { kind: "pin", phase: "planning" };
  }
  throw new SteepError({
    sqlstate: "40001",
    message: `tables kept changing while the snapshot began (${maxAttempts} attempts)`,
    detail: facts.changed,
    hint: "Retry when no session truncates, rewrites, creates or drops tables, or limit the snapshot with tables or schemas.",
  });
}

/** What comes after each action of a snapshot. */
export function nextSnapshotAction(job: SnapshotJob, facts: SnapshotFacts): Action {
  const { params } = job;
  switch (job.done) {
    case null:
      refuseNames(facts);
      refuseUnreadable(facts);
      refuseLargeObjects(params, facts);
      return { kind: "create_directory", phase: "planning", path: params.output_path };
    case "create_directory":
      return { kind: "pin", phase: "planning" };
    case "pin":
      return {
        kind: "plan",
        phase: "planning",
        tables: tablesQuery,
        matviews: matviewsQuery,
        filter: filterQuery,
        compression: params.compression,
        level: params.level,
        node_id: params.node_id,
      };
    case "plan":
      refuseTooManyLocks(facts);
      return { kind: "dump_schema", phase: "schema" };
    case "dump_schema":
      return facts.changed === undefined
        ? { kind: "lock", phase: "schema", fingerprints: fingerprintsQuery }
        : takeAnother(facts);
    case "lock":
      return facts.changed === undefined
        ? { kind: "copy", phase: "data", workers: params.parallel }
        : takeAnother(facts);
    case "copy":
      return { kind: "finish", phase: "finalizing" };
    case "finish":
      return { kind: "complete", phase: "complete" };
  }
}
