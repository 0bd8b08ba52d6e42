import type { ColumnFacts, TableFacts } from "./overlap-facts.ts";

/**
 * Types whose order is the same everywhere, with their least and greatest values. `spread`: how boundaries
 * are interpolated between quantiles lo and hi, for i of n.
 */
const rangeTypes: {
  readonly [type: string]: readonly [least: string, greatest: string, spread: string | null];
} = {
  smallint: ["-32768", "32767", "trunc(lo + (hi::numeric - lo) * i / n)::smallint"],
  integer: ["-2147483648", "2147483647", "trunc(lo + (hi::numeric - lo) * i / n)::integer"],
  bigint: [
    "-9223372036854775808",
    "9223372036854775807",
    "trunc(lo + (hi::numeric - lo) * i / n)::bigint",
  ],
  date: ["-infinity", "infinity", null],
  "timestamp without time zone": ["-infinity", "infinity", "lo + (hi - lo) * (i::float8 / n)"],
  "timestamp with time zone": ["-infinity", "infinity", "lo + (hi - lo) * (i::float8 / n)"],
  uuid: ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", null],
};

export interface RangeType {
  readonly type: string;
  readonly least: string;
  readonly greatest: string;
  readonly spread: string | null;
  readonly hasInfinity: boolean;
}

/** How ranges over this key are made; null where rows have to be put into buckets by a hash. */
export function rangeType(key: readonly ColumnFacts[]): RangeType | null {
  const [column] = key;
  if (column === undefined || key.length > 1) {
    return null;
  }
  const found = rangeTypes[column.type];
  if (found === undefined) {
    return null;
  }
  const [least, greatest, spread] = found;
  return { type: column.type, least, greatest, spread, hasInfinity: greatest === "infinity" };
}

const rowsPerBucket = 32;
const minBuckets = 16;
const maxBuckets = 65536;
/** of a bucket over the wire: its boundary, count and digest in text */
const bytesPerBucket = 60;
const wireShare = 0.005;

/** How many buckets: few enough for the wire, and so many that one that differs has few rows. A power of 2. */
export function bucketCount(local: TableFacts, peer: TableFacts): number {
  const rows = Math.max(local.rows, peer.rows);
  const bytes = Math.max(local.bytes, peer.bytes);
  const affordable = Math.max(minBuckets, (bytes * wireShare) / bytesPerBucket);
  const wanted = Math.min(rows / rowsPerBucket, affordable, maxBuckets);
  return wanted < 2 ? 1 : 2 ** Math.floor(Math.log2(wanted));
}
