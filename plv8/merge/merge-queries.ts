import {
  type Build,
  byKeys,
  type Gap,
  keyNames,
  maxArguments,
  packed,
  relation,
} from "../overlap/overlap-build.ts";
import { isGuarded } from "../overlap/overlap-check.ts";
import { exactDigest, isCastOutput, keyValue, outputOf } from "../overlap/overlap-expressions.ts";
import type { ColumnFacts, TableFacts } from "../overlap/overlap-facts.ts";
import { rowDigest } from "../overlap/overlap-queries.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";

/*
 * Rows travel as images: a JSON object of column name to the type's own text output. Images are made
 * where a row is read, go into the audit log as they are, and are read by the type's input function
 * where the row is written.
 */

/** Statements for writing on one side. Those that write answer how many rows, and their transaction's id. */
export interface MergeSidePlan {
  /** lines: numbers and digests of rows, as arrays; then an image each. gap: keys, a FROM item */
  readonly read: Gap;
  /** the same, and locks them, in the order of their keys */
  readonly lock: Gap;
  /** the same, without those that others have locked */
  readonly lock_free: Gap;
  /** gap: images, a line each */
  readonly insert: Gap;
  /** gap as in `insert`; null where there are only key columns */
  readonly update: Gap | null;
  /** gap: keys, a FROM item */
  readonly delete: Gap;
  /** whether a unique index that is checked at once refuses a second row of a key */
  readonly is_guarded: boolean;
  /** what was written is read once more, since it may be another row than its image: an update leaves the key as it is spelled */
  readonly reads_back: boolean;
  /** arrays no, when the row was last modified, as text, and its exact digest; gap: keys */
  readonly stamps: Gap;
}

/** A value as the images of rows have it. */
export function output(column: ColumnFacts): string {
  const value = `t.${quoteIdent(column.name)}`;
  return column.kind === "scalar" && isCastOutput(column) ? `${value}::text` : outputOf(value);
}

/** How a column of an image is declared: what JSON would be taken apart for is read as text. */
function imageType(column: ColumnFacts): string {
  const isText = column.has_array || column.has_row || /^jsonb?$/.test(column.base);
  return isText ? "text" : column.type;
}

/** Keys in the FROM item `w`, joined with the table. */
export function withKeys({ key, pair }: Build, side: TableFacts): string {
  const names = keyNames(key);
  return ` w(no, ${names.join(", ")}) join ${relation(side, pair.table)} t on ${key
    .map((c, i) => `${keyValue(c)} = w.${names[i]}`)
    .join(" and ")}`;
}

/** Whether a side has our functions in C, as this side has. */
function hasFunctions({ pair, peerHasFunctions }: Build, side: TableFacts): boolean {
  return side === pair.local || peerHasFunctions;
}

/** The image of a row. */
function image(build: Build, side: TableFacts): string {
  const columns = build.readers.map((r) => r.column);
  const names = `array[${columns.map((c) => quoteLiteral(c.name)).join(", ")}]`;
  return hasFunctions(build, side) && columns.length < maxArguments
    ? `steep_repl._row_image(${[names, ...columns.map((c) => `t.${quoteIdent(c.name)}`)].join(", ")})`
    : `json_object(${names}, array[${columns.map(output).join(", ")}])::text`;
}

function readQuery(build: Build, side: TableFacts, locking: string): Gap {
  const order = build.key.map((c) => `${output(c)} collate "C"`).join(", ");
  const list = (column: string) => `coalesce(array_agg(x.${column}), '{}')`;
  return [
    `select concat_ws(chr(10), ${list("n")}::text, ${list("d")}::text, string_agg(x.r, chr(10))) from (
      select w.no as n, ${rowDigest(build)} as d, ${image(build, side)} as r from `,
    `${withKeys(build, side)} order by ${order}${locking}) x`,
  ];
}

const written = "returning 1) select concat(count(*), ' ', pg_current_xact_id()) from x";

/** A FROM item of images, which fill the gap. */
function images(build: Build, side: TableFacts, columns: readonly ColumnFacts[]): Gap {
  const isOurs = hasFunctions(build, side);
  const names = columns.map((c) => `${quoteIdent(c.name)} ${isOurs ? c.type : imageType(c)}`);
  return isOurs
    ? ["steep_repl._image_rows(", `) r(${names.join(", ")})`]
    : [
        "jsonb_to_recordset(('[' || replace(",
        `, chr(10), ',') || ']')::jsonb) r(${names.join(", ")})`,
      ];
}

/** A value of such an image. */
function imageValue(build: Build, side: TableFacts, column: ColumnFacts): string {
  const value = `r.${quoteIdent(column.name)}`;
  const isTyped = hasFunctions(build, side) || imageType(column) === column.type;
  return isTyped ? value : `${value}::${column.type}`;
}

function insertQuery(build: Build, side: TableFacts): Gap {
  const { pair, readers } = build;
  const columns = readers.map((r) => r.column).filter((c) => !c.generated);
  if (hasFunctions(build, side)) {
    const names = columns.map((c) => quoteLiteral(c.name)).join(", ");
    return [
      `select steep_repl._insert_images(${quoteLiteral(pair.table)}::regclass, array[${names}], `,
      ") || ' ' || pg_current_xact_id()",
    ];
  }
  const [before, after] = images(build, side, columns);
  return [
    `with x as (insert into ${pair.table} (${columns.map((c) => quoteIdent(c.name)).join(", ")}) overriding system value
      select ${columns.map((c) => imageValue(build, side, c)).join(", ")} from ${before}`,
    `${after} ${written}`,
  ];
}

/** A key column as an image is read to find its row: by no domain's checks, and no cast that a role has made. */
function keyOfImage(column: ColumnFacts): ColumnFacts {
  return { ...column, type: column.is_builtin ? column.base_type : "text" };
}

function updateQuery(build: Build, side: TableFacts): Gap | null {
  const columns = build.readers.map((r) => r.column);
  const changed = columns.filter((c) => !c.generated && !build.key.some((k) => k.name === c.name));
  if (changed.length === 0) {
    return null;
  }
  const value = (c: ColumnFacts) => imageValue(build, side, c);
  const key = build.key.map(keyOfImage);
  const matches = key.map((c) =>
    sameKey(c, keyValue(c), c.kind === "scalar" ? value(c) : `r.${quoteIdent(c.name)}`),
  );
  const [before, after] = images(build, side, [...key, ...changed]);
  return [
    `with x as (update ${relation(side, build.pair.table)} t
      set ${changed.map((c) => `${quoteIdent(c.name)} = ${value(c)}`).join(", ")} from ${before}`,
    `${after} where ${matches.join(" and ")} ${written}`,
  ];
}

/** Whether a key column equals that of an image. */
function sameKey(column: ColumnFacts, value: string, ofImage: string): string {
  return column.kind === "scalar"
    ? `${value} = ${ofImage}`
    : `${value} = ${ofImage}::text collate "C"`;
}

/**
 * Of images, $1, how many have the keys of the rows whose numbers are $2, by the equality by which rows are found; here,
 * where our functions are. gap: keys, a FROM item
 */
export function sameKeysQuery({ key }: Build): Gap {
  const columns = key.map(keyOfImage).map((c) => `${quoteIdent(c.name)} ${c.type}`);
  const names = keyNames(key);
  const matches = key.map((c, i) => sameKey(c, `w.${names[i]}`, `r.${names[i]}`));
  return [
    `select count(*) from rows from (steep_repl._image_rows($1) as (${columns.join(", ")}))
      with ordinality r(${names.join(", ")}, i) join `,
    ` w(no, ${names.join(", ")}) on w.no = ($2::int[])[r.i] where ${matches.join(" and ")}`,
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
  return [
    `select ${packed(["w.no", stamp, exactDigest(build.readers)])} from `,
    withKeys(build, side),
  ];
}

/** All statements for writing on one side. */
export function mergeSidePlan(
  build: Build,
  side: TableFacts,
  lastModified: string | null,
): MergeSidePlan {
  const update = updateQuery(build, side);
  return {
    read: byKeys(build, side, readQuery(build, side, "")),
    lock: byKeys(build, side, readQuery(build, side, " for update of t")),
    lock_free: byKeys(build, side, readQuery(build, side, " for update of t skip locked")),
    insert: insertQuery(build, side),
    update: update && byKeys(build, side, update),
    delete: byKeys(build, side, deleteQuery(build, side)),
    is_guarded: isGuarded(side, build.key),
    reads_back: build.key.some((c) => c.kind === "scalar" && c.has_spellings),
    stamps: byKeys(build, side, stampQuery(build, side, lastModified)),
  };
}
