import { SteepError } from "../db/steep-error.ts";
import type { SnapshotAction, SnapshotDone } from "../shared/action.ts";
import { sizeText } from "../shared/size-text.ts";
import { membershipsQuery } from "./excluded-sql.ts";
import { largeObjectsQuery } from "./large-objects-sql.ts";
import { type NameFacts, refuseNames } from "./snapshot-names.ts";
import type { SnapshotParams } from "./snapshot-params.ts";
import { filterQuery, fingerprintsQuery, matviewsQuery, tablesQuery } from "./snapshot-sql.ts";

/** What the planner decides by. Counts are text where they are 64-bit in SQL. */
export interface SnapshotFacts extends Partial<NameFacts> {
  /** before anything is done: names of what the requester may not read, joined */
  readonly unreadable?: string | null;
  /** before anything is done: publications of the params that do not exist, joined */
  readonly missing_publications?: string | null;
  /** before anything is done: number of large objects that a snapshot of the whole database meets */
  readonly large_objects?: string;
  /** before anything is done: what refers to tables that are left out, and patterns that leave out nothing, joined */
  readonly keys_to_excluded?: string | null;
  readonly views_of_excluded?: string | null;
  readonly unused_patterns?: string | null;
  /** after `plan`: how many relations will be locked at the same time */
  readonly relations_to_lock?: string;
  /** after `plan`: objects that the shared lock table holds, and of it by one unit of the setting */
  readonly lock_table_size?: string;
  readonly max_locks_per_transaction?: string;
  /** after `lock`: size of the tables with their TOAST, and free space where the snapshot goes */
  readonly bytes_on_disk?: string;
  readonly bytes_free?: string;
  /** after `dump_schema` and `lock`: what changed between the snapshot and the locks */
  readonly changed?: string;
  /** with `changed`: how many snapshots were taken so far */
  readonly attempts?: number;
}

export interface SnapshotJob {
  readonly done: SnapshotDone;
  readonly params: SnapshotParams;
}

/** How often a job takes another snapshot because a table changed meanwhile. */
const maxAttempts = 10;

/** The least that a table's bytes on disk could shrink to. */
const leastShare: { readonly [compression in SnapshotParams["compression"]]: number } = {
  none: 0.4,
  lz4: 0.05,
  gzip: 0.02,
  zstd: 0.01,
};

/** Locks that pg_dump needs in the catalogs, and other sessions meanwhile. */
const otherLocks = 500;

function refuseUnreadable(facts: SnapshotFacts): void {
  if (facts.unreadable) {
    throw new SteepError({
      sqlstate: "42501",
      message: "permission denied to read everything that the snapshot would contain",
      detail: facts.unreadable,
      hint: "Grant SELECT on them (and USAGE on their schemas), or limit the snapshot with tables or schemas. large_objects => 'skip' leaves out large objects.",
    });
  }
}

/** A publication made after the slot loses the changes in between. */
export function refuseMissingPublications(
  facts: Pick<SnapshotFacts, "missing_publications">,
): void {
  if (facts.missing_publications) {
    throw new SteepError({
      sqlstate: "55000",
      message: `publication does not exist: ${facts.missing_publications}`,
      hint: "Create it before the slot: one made later loses the changes in between.",
    });
  }
}

function refuseLargeObjects(params: SnapshotParams, facts: SnapshotFacts): void {
  if (params.large_objects === "refuse" && Number(facts.large_objects ?? "0") > 0) {
    throw new SteepError({
      sqlstate: "0A000",
      message: `this database has ${facts.large_objects} large objects`,
      hint: "Pass large_objects => 'copy' to copy them, or large_objects => 'skip' to leave them out.",
    });
  }
}

/**
 * The locks must fit into the shared lock table: without room in it not only
 * this job would fail but every session. Say how large it must be.
 */
function refuseTooManyLocks(facts: SnapshotFacts): void {
  const relations = Number(facts.relations_to_lock);
  const needed = relations + otherLocks;
  const size = Number(facts.lock_table_size);
  const setting = Number(facts.max_locks_per_transaction);
  if (needed <= size) {
    return;
  }
  const enough = Math.ceil((needed * setting) / size);
  throw new SteepError({
    sqlstate: "53400",
    message: `the lock table is too small for ${relations} tables, sequences and views`,
    detail: `It holds ${size} locks; the snapshot needs ${needed}.`,
    hint: `Set max_locks_per_transaction to at least ${enough} and restart the server.`,
  });
}

function pin(params: SnapshotParams): SnapshotAction {
  return { kind: "pin", phase: "planning", slot_name: params.slot_name };
}

/**
 * The snapshot is from before the change: start over with a new one. What
 * changes again and again is named instead.
 */
function takeAnother(params: SnapshotParams, facts: SnapshotFacts): SnapshotAction {
  if ((facts.attempts ?? 0) < maxAttempts) {
    return pin(params);
  }
  throw new SteepError({
    sqlstate: "40001",
    message: `tables kept changing while the snapshot began (${maxAttempts} attempts)`,
    detail: facts.changed,
    hint: "Retry when no session truncates, rewrites, creates or drops tables, or limit the snapshot with tables or schemas.",
  });
}

/**
 * Refuse only what cannot fit by any account: tables may be bloated, and text
 * may compress very well. What turns out not to fit fails when the disk is full.
 */
function copy(params: SnapshotParams, facts: SnapshotFacts): SnapshotAction {
  const onDisk = Number(facts.bytes_on_disk ?? "0");
  const free = Number(facts.bytes_free ?? "0");
  const least = onDisk * leastShare[params.compression];
  if (least > free) {
    throw new SteepError({
      sqlstate: "53100",
      message: "the snapshot cannot fit",
      detail: `The tables have ${sizeText(onDisk)}, of which at least ${sizeText(least)} are expected with compression ${params.compression}; ${sizeText(free)} are free.`,
      hint: "Free some space, write to another file system, or limit the snapshot with tables or schemas.",
    });
  }
  return { kind: "copy", phase: "data", parallel: params.parallel };
}

/** What a restore will miss, and what was probably meant otherwise. */
function warningsFor(facts: SnapshotFacts): readonly string[] {
  const { keys_to_excluded, views_of_excluded, unused_patterns } = facts;
  const referring = [keys_to_excluded, views_of_excluded].filter(Boolean).join(", ");
  return [
    ...(referring === ""
      ? []
      : [
          `what refers to tables that are left out can only be restored where they are: ${referring}`,
        ]),
    ...(unused_patterns
      ? [`patterns of exclude_tables leave out nothing: ${unused_patterns}`]
      : []),
  ];
}

function createDirectory(params: SnapshotParams, facts: SnapshotFacts): SnapshotAction {
  const warnings = warningsFor(facts);
  return {
    kind: "create_directory",
    phase: "planning",
    path: params.output_path,
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

/** What comes after each action of a snapshot. */
export function nextSnapshotAction(job: SnapshotJob, facts: SnapshotFacts): SnapshotAction {
  const { params } = job;
  switch (job.done) {
    case null:
      refuseNames(facts);
      refuseUnreadable(facts);
      refuseMissingPublications(facts);
      refuseLargeObjects(params, facts);
      return createDirectory(params, facts);
    case "create_directory":
      return pin(params);
    case "pin":
      return {
        kind: "plan",
        phase: "planning",
        tables: tablesQuery,
        matviews: matviewsQuery,
        large_objects: largeObjectsQuery,
        filter: filterQuery,
        memberships: membershipsQuery,
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
        : takeAnother(params, facts);
    case "lock":
      return facts.changed === undefined ? copy(params, facts) : takeAnother(params, facts);
    case "copy":
      return { kind: "finish", phase: "finalizing" };
    case "finish":
      return { kind: "complete", phase: "complete" };
  }
}
