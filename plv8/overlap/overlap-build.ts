import { setLocalKeys } from "../shared/key-settings.ts";
import type { RangeType } from "./overlap-buckets.ts";
import type { CheckedPair } from "./overlap-check.ts";
import type { ColumnReader } from "./overlap-expressions.ts";
import type { ColumnFacts, TableFacts } from "./overlap-facts.ts";

/**
 * Text with one gap, which SQL fills with a literal that was made from rows: a row never comes to JavaScript,
 * and a parameter would be evaluated again for each row.
 */
export type Gap = readonly [before: string, after: string];

/** What the parts of a plan are made from. */
export interface Build {
  readonly pair: CheckedPair;
  readonly key: readonly ColumnFacts[];
  readonly keyReaders: readonly ColumnReader[];
  readonly readers: readonly ColumnReader[];
  readonly buckets: number;
  readonly range: RangeType | null;
  /** whether the peer has our functions in C as this side has them, with the same digests */
  readonly peerHasFunctions: boolean;
}

/** How many arguments a function takes. */
export const maxArguments = 100;

/** A statement that finds rows by their keys: here, functions have the settings for it. */
export function byKeys({ pair }: Build, side: TableFacts, [before, after]: Gap): Gap {
  return [side === pair.peer ? setLocalKeys + before : before, after];
}

/** A table in a FROM clause: without those that inherit from it. */
export function relation(facts: TableFacts, table: string): string {
  return facts.kind === "p" ? table : `only ${table}`;
}

/** Names of the key's columns in generated queries. */
export const keyNames = (key: readonly ColumnFacts[]) => key.map((_, i) => `k${i + 1}`);

/** Columns of a query, aggregated into one text: an array of array literals. */
export function packed(columns: readonly string[], order = ""): string {
  return `array[${columns.map((c) => `array_agg(${c}${order})::text`).join(", ")}]::text`;
}

/** Likewise, an array literal a line. */
export function lines(columns: readonly string[], order: string): string {
  return `concat_ws(chr(10), ${columns.map((c) => `array_agg(${c}${order})::text`).join(", ")})`;
}
