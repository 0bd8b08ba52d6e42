import type { Json } from "../db/sql.ts";
import { invalidArgument, SteepError } from "../db/steep-error.ts";
import {
  integer,
  oneOf,
  optionalNames,
  optionalText,
  parallelOf,
  type Raw,
  requiredText,
} from "../shared/params.ts";
import { type TablePattern, tablePattern } from "../shared/table-scope.ts";

export const compressions = ["none", "gzip", "lz4", "zstd"] as const;

const objectChoices = ["copy", "refuse", "skip"] as const;

/** The arguments of a snapshot, as queued in `work_queue.params`. */
export interface SnapshotParams {
  readonly [name: string]: Json;
  readonly output_path: string;
  readonly compression: (typeof compressions)[number];
  /** the most copy workers, 1 to 64 */
  readonly parallel: number;
  /** of the compression method; null = its default */
  readonly level: number | null;
  /** `schema.table`; null = all */
  readonly tables: readonly string[] | null;
  /** null = all */
  readonly schemas: readonly string[] | null;
  /** a logical slot to make, at whose start the snapshot is taken; null = none */
  readonly slot_name: string | null;
  /** those that a subscription with the slot will name */
  readonly publications: readonly string[] | null;
  readonly node_id: string | null;
  /** what to do with them; jobs of before they could be copied do not say */
  readonly large_objects: (typeof objectChoices)[number];
  /** patterns of tables to leave out; null = none */
  readonly exclude_tables: readonly string[] | null;
  /** the same as SQL goes by them */
  readonly exclude: readonly Pattern[] | null;
}

type Pattern = TablePattern & { readonly [name: string]: Json };

/** The patterns, whose translation comes with a job that was queued, and must be that of its patterns. */
function excludedOf(raw: Raw): Pick<SnapshotParams, "exclude_tables" | "exclude"> {
  const exclude_tables = optionalNames(raw, "exclude_tables");
  const exclude = exclude_tables?.map((pattern): Pattern => ({ ...tablePattern(pattern) })) ?? null;
  if (raw.exclude !== undefined && !isSame(raw.exclude, exclude)) {
    throw invalidArgument("exclude is not what exclude_tables means");
  }
  return { exclude_tables, exclude };
}

/** Whether lists of patterns are equal; jsonb has members in an order of its own. */
function isSame(found: Json, wanted: readonly Pattern[] | null): boolean {
  if (wanted === null || !Array.isArray(found)) {
    return found === wanted;
  }
  const patterns = found as readonly (Partial<TablePattern> | null)[];
  return (
    patterns.length === wanted.length &&
    wanted.every(
      ({ schema, name }, i) => patterns[i]?.schema === schema && patterns[i]?.name === name,
    )
  );
}

/** A subscription needs both: the slot to stream from, and publications that existed before it. */
function slotOf(raw: Raw): Pick<SnapshotParams, "slot_name" | "publications"> {
  const slot_name = optionalText(raw, "slot_name");
  const publications = optionalNames(raw, "publications");
  if (slot_name === null) {
    if (publications !== null) {
      throw invalidArgument("publications are only used with slot_name");
    }
    return { slot_name, publications };
  }
  if (!/^[a-z0-9_]{1,63}$/.test(slot_name)) {
    throw invalidArgument(
      `invalid slot_name "${slot_name}"`,
      "Use at most 63 lower case letters, digits and underscores.",
    );
  }
  if (publications === null) {
    throw new SteepError({
      sqlstate: "55000",
      message: "slot_name needs the publications that the slot is for",
      hint: "Create them first: a publication made after the slot loses the changes in between. Then pass publications => '{name}'.",
    });
  }
  return { slot_name, publications };
}

/**
 * Check the arguments of a snapshot. Called when it is queued and again when
 * it runs, since a role may add rows to the queue by itself.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function snapshotParams(raw: Raw): SnapshotParams {
  const params: SnapshotParams = {
    output_path: requiredText(raw, "output_path"),
    compression: oneOf(raw, "compression", compressions),
    parallel: parallelOf(raw),
    level: integer(raw, "level"),
    tables: optionalNames(raw, "tables"),
    schemas: optionalNames(raw, "schemas"),
    ...slotOf(raw),
    node_id: optionalText(raw, "node_id"),
    large_objects: oneOf({ large_objects: "copy", ...raw }, "large_objects", objectChoices),
    ...excludedOf(raw),
  };
  if (params.tables !== null && params.schemas !== null) {
    throw invalidArgument(
      "tables and schemas cannot both be given",
      "Name the tables of those schemas in tables.",
    );
  }
  return params;
}
