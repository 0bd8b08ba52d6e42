/** The phases of a job, as its row shows them. */
export type Phase =
  | "planning"
  | "schema"
  | "data"
  | "sequences"
  | "indexes"
  | "comparing"
  | "merging"
  | "finalizing"
  | "complete";

/** Those of a pair. */
export type PairPhase =
  | "planning"
  | "publishing"
  | "snapshot"
  | "fetching"
  | "loading"
  | "subscribing"
  | "merging"
  | "sequences"
  | "comparing"
  | "finalizing";

/** No job goes on after this. */
export type Complete = { readonly kind: "complete"; readonly phase: "complete" };

/**
 * What a coordinator does next. C performs the action, then asks again with
 * `done` set to its kind and with the facts that it left.
 */
export type SnapshotAction =
  | {
      readonly kind: "create_directory";
      readonly phase: "planning";
      readonly path: string;
      readonly warnings?: readonly string[];
    }
  | { readonly kind: "pin"; readonly phase: "planning"; readonly slot_name: string | null }
  | ({ readonly kind: "plan"; readonly phase: "planning" } & PlanQueries)
  | { readonly kind: "dump_schema"; readonly phase: "schema" }
  | { readonly kind: "lock"; readonly phase: "schema"; readonly fingerprints: string }
  | { readonly kind: "copy"; readonly phase: "data"; readonly parallel: number }
  | { readonly kind: "finish"; readonly phase: "finalizing" }
  | Complete;

/** Queries that C runs inside the snapshot, with `$1` = the job's params as jsonb. */
export interface PlanQueries {
  /** oid, schema, name, owner, columns text[], fingerprint, condition, in_extension, root's schema and name; by oid */
  readonly tables: string;
  /** oids of materialized views to refresh, in that order */
  readonly matviews: string;
  /** kind, tag, text and owner of entries for large objects; each batch before what belongs to it */
  readonly large_objects: string;
  /** (schema, table or null, name, left out): what pg_dump is limited to; none that is not left out = all */
  readonly filter: string;
  /** oids of publications' memberships to leave out; sorted */
  readonly memberships: string;
  readonly compression: string;
  readonly level: number | null;
  readonly node_id: string | null;
}

/** The same for an apply. `warnings`: what the job goes on without, for its row and the log. */
export type ApplyAction =
  | ({ readonly kind: "open_archive"; readonly phase: "planning" } & ArchiveOptions)
  | ({ readonly kind: "check_targets"; readonly phase: "planning" } & TargetQueries)
  | { readonly kind: "verify"; readonly phase: "planning" }
  | {
      readonly kind: "start_appliers";
      readonly phase: "planning";
      readonly parallel: number;
      readonly replicate: YesNo;
      readonly warnings?: readonly string[];
    }
  | { readonly kind: "truncate"; readonly phase: "data" }
  | { readonly kind: "pre_data"; readonly phase: "schema" }
  | { readonly kind: "load"; readonly phase: "data" }
  | { readonly kind: "set_sequences"; readonly phase: "sequences" }
  | { readonly kind: "post_data"; readonly phase: "indexes" }
  | { readonly kind: "check_constraints"; readonly phase: "finalizing"; readonly checks: string }
  | { readonly kind: "analyze"; readonly phase: "finalizing" }
  | { readonly kind: "close_plan"; readonly phase: "finalizing" }
  | Complete;

/** The same for a comparison of rows; `no` counts the tables from 1. */
export type OverlapAction =
  | { readonly kind: "open_peer"; readonly phase: "planning" }
  | { readonly kind: "compare"; readonly phase: "comparing"; readonly no: number }
  | { readonly kind: "close_peer"; readonly phase: "finalizing" }
  | Complete;

/** The same for fetching a snapshot from a peer. */
export type FetchAction =
  | { readonly kind: "open_peer"; readonly phase: "planning"; readonly snapshot: string }
  | { readonly kind: "make_directory"; readonly phase: "planning"; readonly path: string }
  | { readonly kind: "fetch_manifest"; readonly phase: "planning" }
  | {
      readonly kind: "fetch_files";
      readonly phase: "data";
      readonly parallel: number;
      /** of all fetchers; null = no limit */
      readonly kilobytes_per_second: number | null;
    }
  | { readonly kind: "finish"; readonly phase: "finalizing" }
  | Complete;

type YesNo = "yes" | "no";

/** The same for a merge, and for an undo of one; `no` counts tables or steps from 1. */
export type MergeAction =
  | { readonly kind: "open_peer"; readonly phase: "planning" }
  | {
      readonly kind: "begin_merge";
      readonly phase: "planning";
      readonly discards: YesNo;
      readonly replicates: YesNo;
      readonly warnings?: readonly string[];
    }
  | { readonly kind: "compare"; readonly phase: "comparing"; readonly no: number }
  | { readonly kind: "check_unique"; readonly phase: "comparing" }
  | { readonly kind: "discard_backlog"; readonly phase: "comparing" }
  | { readonly kind: "write"; readonly phase: "merging"; readonly no: number }
  | { readonly kind: "look_again"; readonly phase: "merging" }
  | { readonly kind: "read_audit"; readonly phase: "planning" }
  | { readonly kind: "note_left"; readonly phase: "finalizing" }
  | { readonly kind: "move_sequences"; readonly phase: "finalizing" }
  | { readonly kind: "check_foreign_keys"; readonly phase: "finalizing" }
  | { readonly kind: "close_peer"; readonly phase: "finalizing" }
  | Complete;

export type PairSide = "local" | "peer";

/** What becomes of a statement's answer: the member of the pair's row that has it. */
export type PairKeeps =
  | "plan"
  | "snapshot"
  | "slot"
  | "fetch"
  | "merge"
  | "overlap"
  | "shared"
  /** something that changes come by: what was merged and compared before says nothing any more */
  | "anew";

/** The same for a pair. What statements and waits leave is what there is of the pair then, on both sides. */
export type PairAction =
  | { readonly kind: "open_peer"; readonly phase: "planning" }
  | {
      readonly kind: "statement";
      readonly phase: PairPhase;
      readonly step: string;
      readonly side: PairSide;
      readonly sql: string;
      readonly keeps?: PairKeeps;
      readonly warnings?: readonly string[];
    }
  | {
      readonly kind: "wait";
      readonly phase: PairPhase;
      readonly side: PairSide;
      readonly sql: string;
    }
  | { readonly kind: "close_peer"; readonly phase: "finalizing" }
  | Complete;

export interface ArchiveOptions {
  readonly path: string;
  readonly pre_data: YesNo;
  readonly data: YesNo;
  readonly post_data: YesNo;
  readonly truncate: YesNo;
  readonly no_owner: YesNo;
  readonly no_privileges: YesNo;
  readonly tables: readonly string[] | null;
}

/**
 * Queries that C runs with `$1` = the job's params, `$2` = names of the tables to
 * load, `$3` = of the sequences to set, `$4` = of the relations to create.
 */
export interface TargetQueries {
  /** one row, one JSON object: facts for the next decision */
  readonly facts: string;
  /** (position in $2, level) of tables that must wait for others */
  readonly levels: string;
}

type KindOf<A extends { readonly kind: string }> = Exclude<A["kind"], "complete"> | null;

export type SnapshotDone = KindOf<SnapshotAction>;
export type ApplyDone = KindOf<ApplyAction>;
export type OverlapDone = KindOf<OverlapAction>;
export type MergeDone = KindOf<MergeAction>;
export type PairDone = KindOf<PairAction>;
export type FetchDone = KindOf<FetchAction>;
