import { bucketCount, type RangeType, rangeType } from "./overlap-buckets.ts";
import { type CheckedPair, checkPair, chooseKey, isGuarded } from "./overlap-check.ts";
import {
  type ColumnReader,
  exactDigest,
  hasSpellings,
  keyType,
  keyValue,
  quickDigest,
  summand,
} from "./overlap-expressions.ts";
import type { ColumnFacts, PairFacts, TableFacts } from "./overlap-facts.ts";
import { quoteIdent } from "./sql-text.ts";

/**
 * Text with one gap, which SQL fills with a literal that was made from rows: a row never comes to JavaScript,
 * and a parameter would be evaluated again for each row.
 */
export type Gap = readonly [before: string, after: string];

/** Statements for one side. All but `check` answer one row of one text. */
export interface SidePlan {
  /** (nulls, duplicates) where nothing guards the key, else null; one row */
  readonly check: string | null;
  /** quantiles of the key as an array literal; null where there are no ranges */
  readonly sample: string | null;
  /** arrays bucket, count, digest; gap: the bucket of a row */
  readonly buckets: Gap;
  /** a row a group: arrays of each key column and the digest; gap: the windows, a FROM item */
  readonly rows: Gap;
  /** arrays no, quick and exact digest of rows with given keys; gap: the keys, a FROM item */
  readonly look: Gap;
  /** arrays no, digests of all columns; gap as in `look` */
  readonly columns: Gap;
}

/**
 * Buckets that are ranges of the key: between boundaries, or, where integers lie close enough, of the key without
 * its last bits, which costs a sixth of the time.
 */
export interface RangePlan {
  readonly type: string;
  readonly key: string;
  /** boundaries as an array literal, from both sides' quantiles ($1, $2); null for one bucket */
  readonly boundaries: string | null;
  readonly is_integer: boolean;
  /** the FROM item for `rows`: $1 differing buckets in order, $2 their groups, $3 boundaries */
  readonly windows: string;
  /** the same, $3 bits */
  readonly shifted_windows: string;
}

/** How one table is compared, for `steep_repl._overlap_*`. */
export interface OverlapPlan {
  readonly table: string;
  readonly key: readonly string[];
  readonly key_types: readonly string[];
  /** columns that are compared, in the order of `SidePlan.columns` */
  readonly columns: readonly string[];
  readonly local: SidePlan;
  readonly peer: SidePlan;
  /** whether quick digests of equal rows may differ */
  readonly spellings: boolean;
  /** how many buckets are wanted */
  readonly buckets: number;
  /** where buckets are ranges of the key; else null */
  readonly ranges: RangePlan | null;
  /** else the bucket of a row */
  readonly hash_bucket: string;
  /** (category, key, local digest, peer digest) of a group: $1, $2 what `rows` answered on each side */
  readonly join: string;
}

/**
 * Between two quantiles boundaries are interpolated, where the type allows it. A quantile is made of the rows
 * of two blocks: where keys follow one another in a block, fewer would lie within it, with gaps between.
 */
const pieces = 128;
/** Of a sample: fewer would often be none. */
const minPages = 4;

interface Build {
  readonly pair: CheckedPair;
  readonly key: readonly ColumnFacts[];
  readonly keyReaders: readonly ColumnReader[];
  readonly readers: readonly ColumnReader[];
  readonly buckets: number;
  readonly range: RangeType | null;
}

function relation(facts: TableFacts, table: string): string {
  return facts.kind === "p" ? table : `only ${table}`;
}

const keyNames = (key: readonly ColumnFacts[]) => key.map((_, i) => `k${i + 1}`);

/** Columns of a query, aggregated into one text: an array of array literals. */
function packed(columns: readonly string[], order = ""): string {
  return `array[${columns.map((c) => `array_agg(${c}${order})::text`).join(", ")}]::text`;
}

/** Each nth key of a sample of blocks. Both sides are sampled alike: so each has the share that it has of the rows. */
function sample({ pair, key, range, buckets }: Build, side: TableFacts): string | null {
  const [column] = key;
  if (range === null || column === undefined || buckets === 1) {
    return null;
  }
  const pages = Math.max(1, side.bytes / 8192);
  const [step, wanted] =
    range.spread === null
      ? [4, buckets]
      : [Math.ceil(Math.min(1000, Math.max(32, (2 * side.rows) / pages))), buckets / pieces];
  const rows = Math.max(1, pair.local.rows + pair.peer.rows);
  const percent = Math.min(100, Math.max((100 * minPages) / pages, (100 * wanted * step) / rows));
  const value = keyValue(column);
  return `select array_agg(k)::text from (
    select ${value} as k, row_number() over (order by ${value}) as n
    from ${relation(side, pair.table)} t tablesample system (${percent})
    where ${range.hasInfinity ? `isfinite(${value})` : "true"}) s where n % ${step} = 0`;
}

/** One array of boundaries, in order and without doubles, finer than the quantiles where that is possible. */
function boundaries({ range, buckets }: Build): string | null {
  if (range === null || buckets === 1) {
    return null;
  }
  const quantiles = `select k from unnest($1::${range.type}[]) k union select k from unnest($2::${range.type}[]) k`;
  const fine =
    range.spread === null
      ? quantiles
      : `select ${range.spread} from (select k as lo, coalesce(lead(k) over (order by k), k) as hi from (${quantiles}) q) q,
           generate_series(0, ${pieces - 1}) i, (values (${pieces})) c(n)`;
  return `select array_agg(distinct k)::text from (${fine}) f(k)`;
}

/** The bucket of a row by a hash of its key. */
function hashBucket({ keyReaders, buckets }: Build): string {
  return `(${exactDigest(keyReaders)} & ${buckets - 1})`;
}

function bucketQuery(build: Build, side: TableFacts): Gap {
  return [
    `select ${packed(["bucket", "n", "digest"])} from (select `,
    ` as bucket, count(*) as n, bit_xor(${summand(build.readers)}) as digest
      from ${relation(side, build.pair.table)} t group by 1) b`,
  ];
}

function rowQuery(build: Build, side: TableFacts): Gap {
  const { key, range, pair } = build;
  const names = keyNames(key);
  const values = key.map((c, i) => `${keyValue(c)} as ${names[i]}`).join(", ");
  const k = key[0] === undefined ? "" : keyValue(key[0]);
  const [before, after] =
    range === null
      ? ["w(bucket, g)", `on w.bucket = ${hashBucket(build)}`]
      : [
          "w(lo, hi, is_last, g)",
          `on ${k} >= w.lo and ${k} <= w.hi and (w.is_last or ${k} < w.hi)`,
        ];
  return [
    `select ${packed([...names, "digest"], ` order by ${names.join(", ")}`)} from (
      select w.g, ${values}, ${quickDigest(build.readers)} as digest from `,
    // offset 0: the digest is made before the rows are sorted, and not the rows are
    ` ${before} join ${relation(side, pair.table)} t ${after} offset 0) r group by g order by g`,
  ];
}

/** Runs of buckets in $1 that are in one group of $2. */
const runs = `
  select min(bucket) as first, max(bucket) as last, g
  from (select bucket, g, bucket - row_number() over (partition by g order by bucket) as run
        from unnest($1::int8[], $2::int[]) u(bucket, g)) u
  group by g, run order by 1`;

function rangePlan(build: Build): RangePlan | null {
  const { key, range } = build;
  const [column] = key;
  if (range === null || column === undefined) {
    return null;
  }
  const { type, least, greatest } = range;
  const windows = (lo: string, hi: string, isLast: string, from: string) => `
    select format('unnest(%L::${type}[], %L::${type}[], %L::bool[], %L::int[])',
                  array_agg(${lo}), array_agg(${hi}), array_agg(${isLast}), array_agg(g)) from ${from}`;
  return {
    type,
    key: keyValue(column),
    boundaries: boundaries(build),
    is_integer: type === "smallint" || type === "integer" || type === "bigint",
    windows: `
      with b as materialized (select * from unnest($3::${type}[]) with ordinality u(value, i))
      ${windows(
        `coalesce(lo.value, ${quoted(least, type)})`,
        `coalesce(hi.value, ${quoted(greatest, type)})`,
        "hi.value is null",
        `(${runs}) w left join b lo on lo.i = w.first left join b hi on hi.i = w.last + 1`,
      )}`,
    shifted_windows: windows(
      `(first << $3)::${type}`,
      `((last << $3) | ((1::int8 << $3) - 1))::${type}`,
      "true",
      `(${runs}) w`,
    ),
  };
}

function quoted(value: string, type: string): string {
  return `'${value}'::${type}`;
}

function joinQuery({ key }: Build): string {
  const names = keyNames(key);
  const arrays = (parameter: string) =>
    `unnest(${[...key.map(keyType), "int8"]
      .map((type, i) => `(${parameter})[${i + 1}]::${type}[]`)
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

/** NULLs and doubles, where nothing keeps them out of what should identify a row. */
function checkQuery({ key, pair }: Build, side: TableFacts): string | null {
  if (isGuarded(side, key)) {
    return null;
  }
  const fields = key.map((c) => `t.${quoteIdent(c.name)}`);
  const values = key.map(keyValue);
  const from = relation(side, pair.table);
  return `
    select (select count(*) from ${from} t where ${fields.map((f) => `${f} is null`).join(" or ")}) as nulls,
           (select count(*) from (select from ${from} t group by ${values.join(", ")} having count(*) > 1) d) as duplicates`;
}

function sidePlan(build: Build, side: TableFacts): SidePlan {
  return {
    check: checkQuery(build, side),
    sample: sample(build, side),
    buckets: bucketQuery(build, side),
    rows: rowQuery(build, side),
    look: lookQuery(build, side, [quickDigest(build.readers), exactDigest(build.readers)]),
    columns: lookQuery(build, side, [
      `array[${build.readers.map((r) => exactDigest([r])).join(", ")}]`,
    ]),
  };
}

/** What the sides do not take for the same, such as composite types of other fields, enters as text on both. */
function common(local: ColumnFacts, pair: CheckedPair): ColumnFacts {
  const peer = pair.peer.columns.find((c) => c.name === local.name) ?? local;
  return {
    ...local,
    kind: peer.kind === local.kind && peer.base === local.base ? local.kind : "other",
    has_spellings: local.has_spellings && peer.has_spellings,
    textual: local.textual || peer.textual,
  };
}

function byName(a: ColumnFacts, b: ColumnFacts): number {
  return a.name < b.name ? -1 : Number(a.name > b.name);
}

/**
 * Decide how one table is compared.
 *
 * Generated columns follow from the others and are left out; columns stand in the order of their names,
 * so that both sides digest the same.
 *
 * @throws SteepError where the two cannot be compared
 */
export function planOverlap(facts: PairFacts): OverlapPlan {
  const pair = checkPair(facts);
  const sameEncoding = pair.local.encoding === pair.peer.encoding;
  const reader = (column: ColumnFacts): ColumnReader => ({ column, sameEncoding });
  const columns = pair.local.columns.map((c) => common(c, pair)).sort(byName);
  const key = chooseKey(pair).map((k) => common(k, pair));
  const buckets = bucketCount(pair.local, pair.peer);
  const compared = columns.filter((c) => !c.generated || key.some((k) => k.name === c.name));
  const build: Build = {
    pair,
    key,
    keyReaders: key.map(reader),
    readers: compared.map(reader),
    buckets,
    range: rangeType(key),
  };
  return {
    table: pair.table,
    key: key.map((c) => c.name),
    key_types: key.map(keyType),
    columns: compared.map((c) => c.name),
    local: sidePlan(build, pair.local),
    peer: sidePlan(build, pair.peer),
    spellings: build.readers.some(hasSpellings),
    buckets,
    ranges: rangePlan(build),
    hash_bucket: hashBucket(build),
    join: joinQuery(build),
  };
}
