import type { ColumnFacts } from "./overlap-facts.ts";
import { quoteIdent } from "./sql-text.ts";

/** How a column is read on both sides, where its text has the same bytes (`sameEncoding`) and where not. */
export interface ColumnReader {
  /** `name` both sides have; what is harmless for either is `hash` for both */
  readonly column: ColumnFacts;
  readonly sameEncoding: boolean;
}

function field(column: ColumnFacts): string {
  return `t.${quoteIdent(column.name)}`;
}

function textOf({ column, sameEncoding }: ColumnReader): string {
  return sameEncoding
    ? `${field(column)}::text collate "C"`
    : `convert_to(${field(column)}::text, 'UTF8')`;
}

/** What of a column enters a row's digest. */
export function digestInputs(reader: ColumnReader): readonly string[] {
  const { column, sameEncoding } = reader;
  if (column.digest === "text" || (column.textual && !sameEncoding)) {
    return [textOf(reader)];
  }
  return column.digest === "array"
    ? [field(column), `array_dims(${field(column)})`]
    : [field(column)];
}

/**
 * A digest of a row. Hashed twice: the first hash adds up those of the columns, so that two rows which
 * swapped their values would cancel out in a bucket.
 */
export function rowDigest(readers: readonly ColumnReader[]): string {
  return `hashint8extended(hash_record_extended(row(${readers.flatMap(digestInputs).join(", ")}), 0), 0)`;
}

/** A digest of one column's value. */
export function columnDigest(reader: ColumnReader): string {
  return `hash_record_extended(row(${digestInputs(reader).join(", ")}), 0)`;
}

/** Whether values of a key column are compared by the type's own equality, and else as text. */
export function isTyped(column: ColumnFacts): boolean {
  return column.digest === "hash";
}

/** A key column's value as it is fetched and compared. */
export function keyValue(column: ColumnFacts): string {
  return isTyped(column) ? field(column) : `${field(column)}::text collate "C"`;
}

/** The type that `keyValue` has. "character" without a modifier would be of one character. */
export function keyType(column: ColumnFacts): string {
  if (!isTyped(column)) {
    return "text";
  }
  return column.type === "character" ? "bpchar" : column.type;
}
