import { quoteIdent } from "../shared/sql-text.ts";
import type { ColumnFacts } from "./overlap-facts.ts";

/*
 * What of a column enters a digest. There are two:
 *
 * - the exact one is the same for equal values and, but for chance, another for others;
 * - the quick one may differ for equal values of different spellings (1.0 and 1.00), which then are looked
 *   at with the exact one. It is what a whole table is read with.
 *
 * Neither is the types' own hashes alone. Those fold 64 bits to 32 (so that 1 and 2^32 are the same), leave
 * out the sign of a numeric, also in jsonb, and take NaN and both infinities for one.
 */

/** How a column is read: what both sides make of it, and whether their texts have the same bytes. */
export interface ColumnReader {
  readonly column: ColumnFacts;
  readonly sameEncoding: boolean;
}

type Inputs = (value: string) => readonly string[];

const send =
  (fn: string): Inputs =>
  (value) => [`${fn}(${value})`];

/** Types with one binary form for each value. */
const binary: { readonly [base: string]: Inputs } = {
  int8: send("int8send"),
  timestamp: send("timestamp_send"),
  timestamptz: send("timestamptz_send"),
  time: send("time_send"),
  timetz: send("timetz_send"),
  pg_lsn: send("pg_lsn_send"),
  xid8: send("xid8send"),
};

const quick: { readonly [base: string]: Inputs } = {
  ...binary,
  interval: send("interval_send"),
  numeric: send("numeric_send"),
  jsonb: send("jsonb_send"),
};

/** The text without what different spellings of a number differ in. */
const shape = (text: string) => `translate(${text}, '0.', '') collate "C"`;

/** An interval's length as its equality sees it, a month having 30 days. */
const span = (i: string) =>
  `(extract(year from ${i}) * 360 + extract(month from ${i}) * 30 + extract(day from ${i})) * 86400
   + extract(hour from ${i}) * 3600 + extract(minute from ${i}) * 60 + extract(second from ${i})`;

const exact: { readonly [base: string]: Inputs } = {
  ...binary,
  interval: (value) => [value, span(value), `sign(${span(value)})::float8`],
  numeric: (value) => [value, `sign(${value})::float8`],
  jsonb: (value) => [value, shape(`${value}::text`)],
};

function field(column: ColumnFacts): string {
  return `t.${quoteIdent(column.name)}`;
}

/** What a type's output function writes. A cast to text may be a function that the type's owner has made. */
export function outputOf(value: string): string {
  // not IS NULL, which is true of a row of NULLs
  return `case when num_nulls(${value}) = 0 then concat(${value}) end`;
}

/** A column as text, by no code but the type's own. */
function asText(column: ColumnFacts): string {
  const value = field(column);
  return column.is_builtin ? `${value}::text` : `(${outputOf(value)})`;
}

function textOf({ column, sameEncoding }: ColumnReader): string {
  const text = asText(column);
  return sameEncoding ? `${text} collate "C"` : `convert_to(${text}, 'UTF8')`;
}

/** Arrays have the hash of their elements, and a composite value of NULLs that of NULL. */
function containerInputs(column: ColumnFacts): readonly string[] {
  const value = field(column);
  return [
    value,
    ...(column.has_array ? [`array_dims(${value})`] : []),
    ...(column.has_row ? [`num_nulls(${value})`] : []),
    ...(column.has_signs ? [shape(asText(column))] : []),
  ];
}

function inputs(reader: ColumnReader, scalars: typeof exact): readonly string[] {
  const { column, sameEncoding } = reader;
  if (column.kind !== "scalar" || (column.textual && !sameEncoding)) {
    return [textOf(reader)];
  }
  const value = field(column);
  return scalars[column.base]?.(value) ?? [value];
}

export function exactInputs(reader: ColumnReader): readonly string[] {
  const { column, sameEncoding } = reader;
  const isHashed =
    column.kind === "container" && column.has_spellings && (sameEncoding || !column.textual);
  return isHashed ? containerInputs(column) : inputs(reader, exact);
}

/**
 * A hash over columns. The seed tells NULL, whose hash is 0, from values that have the seed or the seed
 * less 1 as their hash: a float 0, and a numeric NaN or 0.
 */
export function hashOf(values: readonly string[]): string {
  return `hash_record_extended(row(${values.join(", ")}), 7951)`;
}

/** The exact digest of a row, or of a part of it. */
export function exactDigest(readers: readonly ColumnReader[]): string {
  return hashOf(readers.flatMap(exactInputs));
}

/** What the quick digest of a row is made of; isOurs: by our own function, which both sides have. */
export interface QuickReaders {
  readonly readers: readonly ColumnReader[];
  readonly isOurs: boolean;
}

/** What our own digest is given: it knows of the spellings of scalars. */
function ownInput(reader: ColumnReader): string {
  const { column } = reader;
  const hasSpellings = column.kind === "container" && column.has_spellings;
  return hasSpellings ? hashOf(exactInputs(reader)) : (inputs(reader, {})[0] ?? "");
}

/** The quick digest of a row. Where both sides have our own, that is as exact as the other. */
export function quickDigest({ readers, isOurs }: QuickReaders): string {
  return isOurs
    ? `steep_repl._row_digest(${readers.map(ownInput).join(", ")})`
    : hashOf(readers.flatMap((r) => inputs(r, quick)));
}

/**
 * A quick digest that can be combined with those of other rows. That of SQL is hashed once more: it adds up
 * those of the columns, so that two rows which swapped their values would cancel out. As a float, since
 * the hash of an int8 has 32 bits.
 */
export function summand(quick: QuickReaders): string {
  const digest = quickDigest(quick);
  return quick.isOurs ? digest : `hashfloat8extended(${digest}::float8, 0)`;
}

/** Whether equal values may have different quick digests. */
export function hasSpellings({ column }: ColumnReader): boolean {
  return column.kind !== "other" && column.has_spellings;
}

/** Types whose cast to text is their output; that of bool or character is not. */
const castIsOutput: ReadonlySet<string> = new Set([
  ...["int2", "int4", "int8", "float4", "float8", "numeric", "oid", "uuid", "text", "varchar"],
  ...["date", "time", "timetz", "timestamp", "timestamptz", "interval", "bytea", "jsonb"],
]);

/** Whether a scalar's cast to text is what its type's output function writes. */
export function isCastOutput({ base }: ColumnFacts): boolean {
  return castIsOutput.has(base);
}

/** A key column's value as it is fetched and compared: by the type's own equality, or as text. */
export function keyValue(column: ColumnFacts): string {
  return column.kind === "scalar" ? field(column) : `${asText(column)} collate "C"`;
}

/** The type that values are read as which `keyValue` is compared with. */
export function keyType(column: ColumnFacts): string {
  return column.kind === "scalar" ? column.base_type : "text";
}
