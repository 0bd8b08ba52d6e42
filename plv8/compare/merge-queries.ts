import { type Build, type Gap, keyNames, packed, relation } from "./overlap-build.ts";
import { isGuarded } from "./overlap-check.ts";
import { keyValue, quickDigest } from "./overlap-expressions.ts";
import type { ColumnFacts, TableFacts } from "./overlap-facts.ts";
import { quoteIdent, quoteLiteral } from "./sql-text.ts";

/*
 * Rows travel as images: a JSON object of column name to the type's own text output. Images are made
 * where a row is read, go into the audit log as they are, and are read by the type's input function
 * where the row is written.
 */

/** Statements for writing on one side. Those that write answer how many rows, and their transaction's id. */
export interface MergeSidePlan {
  /** three lines: numbers and digests of rows as arrays, images as a JSON array; gap: keys, a FROM item */
  readonly read: Gap;
  /** the same, and locks them, in the order of their keys */
  readonly lock: Gap;
  /** gap: images, a JSON array */
  readonly insert: Gap;
  /** gap as in `insert`; null where there are only key columns */
  readonly update: Gap | null;
  /** gap: keys, a FROM item */
  readonly delete: Gap;
  /** whether a unique index that is checked at once refuses a second row of a key */
  readonly is_guarded: boolean;
  /** arrays no and when the row was last modified, as text; gap: keys */
  readonly stamps: Gap;
}

/** Types whose cast to text is their output; that of bool or character is not. */
const castIsOutput: ReadonlySet<string> = new Set([
  ...["int2", "int4", "int8", "float4", "float8", "numeric", "oid", "uuid", "text", "varchar"],
  ...["date", "time", "timetz", "timestamp", "timestamptz", "interval", "bytea", "jsonb"],
]);

function output(column: ColumnFacts): string {
  const value = `t.${quoteIdent(column.name)}`;
  return column.kind === "scalar" && castIsOutput.has(column.base)
    ? `${value}::text`
    : // not IS NULL, which is true of a row of NULLs
      `case when num_nulls(${value}) = 0 then concat(${value}) end`;
}

/** How a column of an image is declared: what JSON would be taken apart for is read as text. */
function imageType(column: ColumnFacts): string {
  const isText = column.has_array || column.has_row || /^jsonb?$/.test(column.base);
  return isText ? "text" : column.type;
}

function imageValue(column: ColumnFacts): string {
  const value = `r.${quoteIdent(column.name)}`;
  return imageType(column) === column.type ? value : `${value}::${column.type}`;
}

function imagesAs(columns: readonly ColumnFacts[]): string {
  return `r(${columns.map((c) => `${quoteIdent(c.name)} ${imageType(c)}`).join(", ")})`;
}

/** Keys in the FROM item `w`, joined with the table. */
function withKeys({ key, pair }: Build, side: TableFacts): string {
  const names = keyNames(key);
  return ` w(no, ${names.join(", ")}) join ${relation(side, pair.table)} t on ${key
    .map((c, i) => `${keyValue(c)} = w.${names[i]}`)
    .join(" and ")}`;
}

function readQuery(build: Build, side: TableFacts, lock: boolean): Gap {
  const columns = build.readers.map((r) => r.column);
  const names = `array[${columns.map((c) => quoteLiteral(c.name)).join(", ")}]`;
  const order = build.key.map((c) => `${output(c)} collate "C"`).join(", ");
  const list = (column: string) => `coalesce(array_agg(x.${column}), '{}')`;
  return [
    `select concat_ws(chr(10), ${list("n")}::text, ${list("d")}::text, '[' || coalesce(string_agg(x.r::text, ','), '') || ']') from (
      select w.no as n, ${quickDigest(build)} as d, json_object(${names}, array[${columns.map(output).join(", ")}]) as r from `,
    `${withKeys(build, side)} order by ${order}${lock ? " for update of t" : ""}) x`,
  ];
}

const written = "returning 1) select concat(count(*), ' ', pg_current_xact_id()) from x";

function insertQuery(build: Build): Gap {
  const columns = build.readers.map((r) => r.column).filter((c) => !c.generated);
  return [
    `with x as (insert into ${build.pair.table} (${columns.map((c) => quoteIdent(c.name)).join(", ")}) overriding system value
      select ${columns.map(imageValue).join(", ")} from jsonb_to_recordset(`,
    `::jsonb) ${imagesAs(columns)} ${written}`,
  ];
}

function updateQuery(build: Build, side: TableFacts): Gap | null {
  const columns = build.readers.map((r) => r.column);
  const changed = columns.filter((c) => !c.generated && !build.key.some((k) => k.name === c.name));
  if (changed.length === 0) {
    return null;
  }
  const matches = build.key.map((c) =>
    c.kind === "scalar"
      ? `${keyValue(c)} = ${imageValue(c)}`
      : `${keyValue(c)} = r.${quoteIdent(c.name)}::text collate "C"`,
  );
  return [
    `with x as (update ${relation(side, build.pair.table)} t
      set ${changed.map((c) => `${quoteIdent(c.name)} = ${imageValue(c)}`).join(", ")} from jsonb_to_recordset(`,
    `::jsonb) ${imagesAs([...build.key, ...changed])} where ${matches.join(" and ")} ${written}`,
  ];
}

function deleteQuery({ key, pair }: Build, side: TableFacts): Gap {
  const names = keyNames(key);
  return [
    `with x as (delete from ${relation(side, pair.table)} t using `,
    ` w(no, ${names.join(", ")}) where ${key.map((c, i) => `${keyValue(c)} = w.${names[i]}`).join(" and ")} ${written}`,
  ];
}

function stampQuery(build: Build, side: TableFacts, column: string | null): Gap {
  const stamp =
    column === null ? "pg_xact_commit_timestamp(t.xmin)::text" : `t.${quoteIdent(column)}::text`;
  return [`select ${packed(["w.no", stamp])} from `, withKeys(build, side)];
}

/** All statements for writing on one side. */
export function mergeSidePlan(
  build: Build,
  side: TableFacts,
  lastModified: string | null,
): MergeSidePlan {
  return {
    read: readQuery(build, side, false),
    lock: readQuery(build, side, true),
    insert: insertQuery(build),
    update: updateQuery(build, side),
    delete: deleteQuery(build, side),
    is_guarded: isGuarded({ ...side, keys: side.keys.filter((k) => k.immediate) }, build.key),
    stamps: stampQuery(build, side, lastModified),
  };
}
