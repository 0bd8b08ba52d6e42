import { type Build, relation } from "./overlap-build.ts";
import { keyValue } from "./overlap-expressions.ts";
import type { TableFacts } from "./overlap-facts.ts";

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

/**
 * Between two quantiles boundaries are interpolated, where the type allows it. A quantile is made of the rows
 * of two blocks: where keys follow one another in a block, fewer would lie within it, with gaps between.
 */
const pieces = 128;
/** Of a sample: fewer would often be none. */
const minPages = 4;

/** Each nth key of a sample of blocks. Both sides are sampled alike: so each has the share that it has of the rows. */
export function sample({ pair, key, range, buckets }: Build, side: TableFacts): string | null {
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

/** Runs of buckets in $1 that are in one group of $2. */
const runs = `
  select min(bucket) as first, max(bucket) as last, g
  from (select bucket, g, bucket - row_number() over (partition by g order by bucket) as run
        from unnest($1::int8[], $2::int[]) u(bucket, g)) u
  group by g, run order by 1`;

/** How ranges are made of a key, null where its rows are put into buckets by a hash. */
export function rangePlan(build: Build): RangePlan | null {
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
