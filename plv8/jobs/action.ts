/** The phases of a snapshot, as its row shows them. */
export type Phase = "planning" | "schema" | "data" | "finalizing" | "complete";

/**
 * What a coordinator does next. C performs the action, then asks again with
 * `done` set to its kind and with the facts that it left.
 */
export type Action =
  | { readonly kind: "create_directory"; readonly phase: "planning"; readonly path: string }
  | { readonly kind: "pin"; readonly phase: "planning"; readonly slot_name: string | null }
  | ({ readonly kind: "plan"; readonly phase: "planning" } & PlanQueries)
  | { readonly kind: "dump_schema"; readonly phase: "schema" }
  | { readonly kind: "lock"; readonly phase: "schema"; readonly fingerprints: string }
  | { readonly kind: "copy"; readonly phase: "data"; readonly workers: number }
  | { readonly kind: "finish"; readonly phase: "finalizing" }
  | { readonly kind: "complete"; readonly phase: "complete" };

/** Queries that C runs inside the snapshot, with `$1` = the job's params as jsonb. */
export interface PlanQueries {
  /** oid, schema, name, owner, columns text[], fingerprint, condition, in_extension; by oid */
  readonly tables: string;
  /** oids of materialized views to refresh, in that order */
  readonly matviews: string;
  /** (schema, table, name), or (schema, null, name): what pg_dump is limited to; no rows = all */
  readonly filter: string;
  readonly compression: string;
  readonly level: number | null;
  readonly node_id: string | null;
}

export type Done = Exclude<Action["kind"], "complete"> | null;
