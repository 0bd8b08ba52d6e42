import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import {
  type Build,
  byKeys,
  type Gap,
  keyNames,
  lines,
  maxArguments,
  packed,
  relation,
} from "./overlap-build.ts";
import { isGuarded, isUnique } from "./overlap-check.ts";
import {
  exactDigest,
  isCastOutput,
  keyType,
  keyValue,
  quickDigest,
  summand,
} from "./overlap-expressions.ts";
import type { TableFacts } from "./overlap-facts.ts";
import { sample } from "./overlap-ranges.ts";

/** Statements for one side. All but `check` answer one row of one text. */
export interface SidePlan {
  /** (nulls, duplicates) where nothing guards the key, else null; one row */
  readonly check: string | null;
  /** quantiles of the key as an array literal; null where there are no ranges */
  readonly sample: string | null;
  /** arrays bucket, count, digest; gap: the bucket of a row */
  readonly buckets: Gap;
  /** arrays bucket, count, whether a row is of late (1); gap: what `steep_repl._overlap_since` makes of the bucket of a row */
  readonly since: Gap;
  /** a row a group: arrays of each key column and the digest, `packed` or in `lines`; gap: the windows, a FROM item */
  readonly rows: Gap;
  /** arrays no, quick and exact digest of rows with given keys; gap: the keys, a FROM item */
  readonly look: Gap;
  /** arrays no, digests of all columns; gap as in `look` */
  readonly columns: Gap;
}

/** Whether both sides digest rows by our own function. */
export function hasOwnDigest({ peerHasFunctions, readers }: Build): boolean {
  return peerHasFunctions && readers.length <= maxArguments;
}

/** The quick digest of a row, as both sides make it. */
export function rowDigest(build: Build): string {
  return quickDigest({ readers: build.readers, isOurs: hasOwnDigest(build) });
}

/** The bucket of a row by a hash of its key. */
export function hashBucket({ keyReaders, buckets }: Build): string {
  return `(${exactDigest(keyReaders)} & ${buckets - 1})`;
}

function bucketQuery(build: Build, side: TableFacts): Gap {
  return [
    `select ${packed(["bucket", "n", "digest"])} from (select `,
    ` as bucket, count(*) as n, bit_xor(${summand({ readers: build.readers, isOurs: hasOwnDigest(build) })}) as digest
      from ${relation(side, build.pair.table)} t group by 1) b`,
  ];
}

/** The buckets of rows once more, without reading their values: a bucket that has lost rows, or has late ones, has changed. */
function sinceQuery(build: Build, side: TableFacts): Gap {
  return [
    `select ${packed(["bucket", "n", "late"])} from (select `,
    ` from ${relation(side, build.pair.table)} t group by 1) b`,
  ];
}

/** Rows of differing buckets that are found by a hash, which one scan has to put into groups. */
function hashedRowQuery(build: Build, side: TableFacts): Gap {
  const { key, pair } = build;
  const names = keyNames(key);
  const values = key.map((c, i) => `${keyValue(c)} as ${names[i]}`).join(", ");
  return [
    `select ${answer(build, ` order by ${names.join(", ")}`)} from (
      select w.g, ${values}, ${rowDigest(build)} as digest from `,
    // offset 0: the digest is made before the rows are sorted, and not the rows are
    ` w(bucket, g) join ${relation(side, pair.table)} t on w.bucket = ${hashBucket(build)} offset 0) r group by g order by g`,
  ];
}

/** Rows of differing ranges, read group by group: nothing is sorted, and the first is there before the last is read. */
function rangeRowQuery(build: Build, side: TableFacts): Gap {
  const { key, pair } = build;
  const names = keyNames(key);
  const values = key.map((c, i) => `${keyValue(c)} as ${names[i]}`).join(", ");
  const k = key[0] === undefined ? "" : keyValue(key[0]);
  return [
    "with w(lo, hi, is_last, g) as materialized (select * from ",
    `) select x.answer from generate_series(0, (select max(w.g) from w)) g(no)
      cross join lateral (select count(*) as n, ${answer(build, "")} as answer from (
        select ${values}, ${rowDigest(build)} as digest from w
        join ${relation(side, pair.table)} t on ${k} >= w.lo and ${k} <= w.hi and (w.is_last or ${k} < w.hi)
        where w.g = g.no) r) x where x.n > 0`,
  ];
}

/** What `rows` answers of a group. */
function answer(build: Build, order: string): string {
  const columns = [...keyNames(build.key), "digest"];
  return isJoinedByText(build) ? lines(columns, order) : packed(columns, order);
}

/** Whether keys are the same if their texts are, and only then. */
function isJoinedByText({ key }: Build): boolean {
  return key.every((c) => c.kind !== "scalar" || (!c.has_spellings && isCastOutput(c)));
}

/** Joins what `rows` answered for a group on each side; null where that is done by the texts. */
export function joinQuery(build: Build): string | null {
  const { key } = build;
  if (isJoinedByText(build)) {
    return null;
  }
  const names = keyNames(key);
  const arrays = (parameter: string) =>
    `unnest(${[...key.map(keyType), "int8"]
      // in a subquery, or the planner would read the whole array as well, to see how long it is
      .map((type, i) => `(select (${parameter})[${i + 1}]::${type}[])`)
      .join(", ")})`;
  const columns = [...names, "d"].join(", ");
  return `
    select case when l.d is null then 'remote_only' when r.d is null then 'local_only' else 'conflict' end,
           array[${names.map((n) => `coalesce(l.${n}, r.${n})::text`).join(", ")}], l.d, r.d
    from ${arrays("$1")} l(${columns})
    full join ${arrays("$2")} r(${columns}) on ${names.map((n) => `l.${n} = r.${n}`).join(" and ")}
    where l.d is distinct from r.d`;
}

/** Rows by their keys, which stand in the FROM item `w(no, k1, …)`. */
function lookQuery(build: Build, side: TableFacts, digests: readonly string[]): Gap {
  const names = keyNames(build.key);
  return [
    `select ${packed(["w.no", ...digests])} from `,
    ` w(no, ${names.join(", ")}) join ${relation(side, build.pair.table)} t on ${build.key
      .map((c, i) => `${keyValue(c)} = w.${names[i]}`)
      .join(" and ")}`,
  ];
}

/**
 * NULLs and doubles, where nothing keeps them out of what should identify a row. The peer shows committed rows only;
 * those here may be of the caller's own transaction.
 */
function checkQuery({ key, pair }: Build, side: TableFacts): string | null {
  if (side === pair.peer ? isUnique(side, key) : isGuarded(side, key)) {
    return null;
  }
  const fields = key.map((c) => `t.${quoteIdent(c.name)}`);
  const values = key.map(keyValue);
  const from = relation(side, pair.table);
  return `
    select (select count(*) from ${from} t where ${fields.map((f) => `${f} is null`).join(" or ")}) as nulls,
           (select count(*) from (select from ${from} t group by ${values.join(", ")} having count(*) > 1) d) as duplicates`;
}

/** A FROM item of the keys of rows, as an expression over the aggregated columns no and key. */
export function keysExpression({ key }: Build): string {
  const gaps = key.map((c) => `, %L::${keyType(c).replace(/%/g, "%%")}[]`).join("");
  const values = key.map((_, i) => `, array_agg(d.key[${i + 1}])`).join("");
  return `format(${quoteLiteral(`unnest(%L::int[]${gaps})`)}, array_agg(d.no)${values})`;
}

/** All statements for one side. */
export function sidePlan(build: Build, side: TableFacts): SidePlan {
  return {
    check: checkQuery(build, side),
    sample: sample(build, side),
    buckets: bucketQuery(build, side),
    since: sinceQuery(build, side),
    rows: build.range === null ? hashedRowQuery(build, side) : rangeRowQuery(build, side),
    look: byKeys(
      build,
      side,
      lookQuery(build, side, [rowDigest(build), exactDigest(build.readers)]),
    ),
    columns: byKeys(
      build,
      side,
      lookQuery(build, side, [`array[${build.readers.map((r) => exactDigest([r])).join(", ")}]`]),
    ),
  };
}
