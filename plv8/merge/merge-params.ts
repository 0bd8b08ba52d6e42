import type { Json } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";
import { flag, oneOf, optionalNames, optionalText, type Raw } from "../shared/params.ts";
import type { Strategy } from "./merge-facts.ts";

const strategies = ["prefer-local", "prefer-remote", "last-modified", "manual"] as const;
const localOnly = ["push", "keep", "delete"] as const;
const remoteOnly = ["pull", "keep", "delete"] as const;

/** The arguments of a merge that TypeScript decides by, as queued in `work_queue.params`. */
export interface MergeParams {
  readonly [name: string]: Json;
  readonly strategy: Strategy;
  readonly dry_run: boolean;
  readonly last_modified_column: string | null;
  readonly local_only: (typeof localOnly)[number];
  readonly remote_only: (typeof remoteOnly)[number];
  readonly backlog: "refuse" | "discard";
  readonly other_subscribers: "refuse" | "ignore";
}

/**
 * Check the arguments of a merge. Called when it is queued and again when it
 * runs, since a role may add rows to the queue by itself.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function mergeParams(raw: Raw): MergeParams {
  const params: MergeParams = {
    strategy: oneOf(raw, "strategy", strategies),
    dry_run: flag(raw, "dry_run"),
    last_modified_column: optionalText(raw, "last_modified_column"),
    local_only: oneOf(raw, "local_only", localOnly),
    remote_only: oneOf(raw, "remote_only", remoteOnly),
    backlog: oneOf(raw, "backlog", ["refuse", "discard"] as const),
    other_subscribers: oneOf(raw, "other_subscribers", ["refuse", "ignore"] as const),
  };
  // which tables is SQL's to say; here, that they are names
  optionalNames({ tables: raw.tables ?? null }, "tables");
  if (params.last_modified_column !== null && params.strategy !== "last-modified") {
    throw invalidArgument(
      "last_modified_column needs strategy last-modified",
      "Without it the column would not be looked at.",
    );
  }
  return params;
}
