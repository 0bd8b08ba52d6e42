import type { Json } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";
import {
  checkLastModifiedColumn,
  flag,
  oneOf,
  optionalNames,
  optionalText,
  type Raw,
} from "../shared/params.ts";
import {
  type LocalOnly,
  mergeActions,
  ofLocalOnly,
  ofRemoteOnly,
  ofStrategy,
  type RemoteOnly,
  type RowActions,
  type Strategy,
} from "./row-actions.ts";

/** What a merge is told of that which may stand in its way. */
export interface Tolerance {
  /** null where no row is decided by when it was modified */
  readonly strategy: Strategy | null;
  readonly last_modified_column: string | null;
  readonly backlog: "refuse" | "discard";
  readonly other_subscribers: "refuse" | "ignore";
}

/** The arguments of a merge that TypeScript decides by, as queued in `work_queue.params`. */
export interface MergeParams extends Tolerance {
  readonly [name: string]: Json;
  readonly strategy: Strategy;
  readonly dry_run: boolean;
  readonly local_only: LocalOnly;
  readonly remote_only: RemoteOnly;
  /** a stored comparison, whose rows are merged as they were reviewed */
  readonly overlap_id: string | null;
  /** what strategy, local_only and remote_only mean */
  readonly actions: { readonly [category in keyof RowActions]-?: string };
}

const keysOf = <T extends object>(map: T) => Object.keys(map) as (keyof T & string)[];

/**
 * Check the arguments of a merge. Called when it is queued and again when it
 * runs, since a role may add rows to the queue by itself.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function mergeParams(raw: Raw): MergeParams {
  const choices = {
    strategy: oneOf(raw, "strategy", keysOf(ofStrategy)),
    dry_run: flag(raw, "dry_run"),
    last_modified_column: optionalText(raw, "last_modified_column"),
    local_only: oneOf(raw, "local_only", keysOf(ofLocalOnly)),
    remote_only: oneOf(raw, "remote_only", keysOf(ofRemoteOnly)),
    backlog: oneOf(raw, "backlog", ["refuse", "discard"] as const),
    other_subscribers: oneOf(raw, "other_subscribers", ["refuse", "ignore"] as const),
    overlap_id: optionalText(raw, "overlap_id"),
  };
  // which tables is SQL's to say; here, that they are names
  optionalNames({ tables: raw.tables ?? null }, "tables");
  checkLastModifiedColumn(choices);
  if (choices.overlap_id !== null && choices.backlog === "discard") {
    throw invalidArgument(
      "backlog discard and overlap_id exclude each other",
      "Changes that were waiting when the rows were compared would be lost.",
    );
  }
  return {
    ...choices,
    actions: { ...mergeActions(choices.strategy, choices.local_only, choices.remote_only) },
  };
}

/** The same of a job. Its actions, by which SQL goes, are what the rest says: a role may have queued it by itself, with or without them. */
export function queuedMergeParams(raw: Raw): MergeParams {
  const params = mergeParams(raw);
  if ((raw.actions ?? null) === null) {
    return params;
  }
  const queued = new Map<string, unknown>(Object.entries(raw.actions as object));
  const isSame =
    queued.size === Object.keys(params.actions).length &&
    keysOf(params.actions).every((category) => queued.get(category) === params.actions[category]);
  if (!isSame) {
    throw invalidArgument(
      "actions must be what strategy, local_only and remote_only say",
      "Leave them out, or queue the merge with steep_repl.start_merge().",
    );
  }
  return params;
}

/** What takes back, or settles one conflict: other subscribers had their say when the merge was started. */
export const restoring: Tolerance = {
  strategy: null,
  last_modified_column: null,
  backlog: "refuse",
  other_subscribers: "ignore",
};

/**
 * Check the arguments of an undo; which merge it takes back is for C to find.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function checkUndoParams(raw: Raw): void {
  // none, if the merge has written nothing
  if (!(Array.isArray(raw.tables) && raw.tables.length === 0)) {
    optionalNames({ tables: raw.tables ?? null }, "tables");
  }
}
