import type { Json } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";
import {
  checkLastModifiedColumn,
  oneOf,
  optionalNames,
  optionalText,
  parallelOf,
  type Raw,
  requiredText,
} from "../shared/params.ts";
import { type TableScope, tableScope } from "../shared/table-scope.ts";

/** The arguments of start_pair, as queued in `work_queue.params`. */
export interface PairParams {
  readonly [name: string]: Json;
  /** a node */
  readonly peer: string;
  /** what becomes of data at the peer */
  readonly existing: "refuse" | "merge" | "keep";
  readonly strategy: string;
  readonly last_modified_column: string | null;
  readonly sequences: "interleave" | "keep";
  readonly parallel: number;
  readonly output_path: string | null;
  readonly schemas: readonly string[] | null;
  readonly tables: readonly string[] | null;
  readonly exclude_tables: readonly string[] | null;
}

/**
 * Check the arguments of a pair. Called when it is queued and again when it runs, since a role may add rows to the queue by itself.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function pairParams(raw: Raw): PairParams {
  const params = {
    peer: requiredText(raw, "peer"),
    existing: oneOf(raw, "existing", ["refuse", "merge", "keep"] as const),
    strategy: oneOf(raw, "strategy", ["prefer-local", "prefer-remote", "last-modified", "manual"]),
    last_modified_column: optionalText(raw, "last_modified_column"),
    sequences: oneOf(raw, "sequences", ["interleave", "keep"] as const),
    parallel: parallelOf(raw),
    output_path: optionalText(raw, "output_path"),
    schemas: optionalNames(raw, "schemas"),
    tables: optionalNames(raw, "tables"),
    exclude_tables: optionalNames(raw, "exclude_tables"),
  };
  tableScope(raw);
  checkLastModifiedColumn(params);
  if (params.output_path !== null && !params.output_path.startsWith("/")) {
    throw invalidArgument(
      "output_path must be an absolute path",
      "Each node makes a directory of its own in it.",
    );
  }
  return params;
}

/** Which tables a pair is about, as SQL goes by it. */
export function pairLimits(raw: Raw): {
  readonly tables: readonly string[] | null;
  readonly scope: TableScope;
} {
  return { tables: optionalNames(raw, "tables"), scope: tableScope(raw) };
}

/** Whether it is about all tables of this side. */
export function isWholeDatabase({ tables, schemas, exclude_tables }: PairParams): boolean {
  return tables === null && schemas === null && exclude_tables === null;
}
