import { bucketCount, rangeType } from "./overlap-buckets.ts";
import type { Build } from "./overlap-build.ts";
import { type CheckedPair, checkPair, chooseKey } from "./overlap-check.ts";
import { type ColumnReader, hasSpellings } from "./overlap-expressions.ts";
import type { ColumnFacts, PairFacts } from "./overlap-facts.ts";
import {
  hashBucket,
  hasOwnDigest,
  joinQuery,
  keysExpression,
  type SidePlan,
  sidePlan,
} from "./overlap-queries.ts";
import { type RangePlan, rangePlan } from "./overlap-ranges.ts";

/** How one table is compared, for `steep_repl._overlap_*`. */
export interface OverlapPlan {
  readonly table: string;
  readonly key: readonly string[];
  /** a FROM item of the keys of rows, as an expression over them, aggregated */
  readonly keys: string;
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
  /** (category, key, local digest, peer digest) of a group: $1, $2 what `rows` answered on each side; null: by the texts */
  readonly join: string | null;
}

/** What the sides do not take for the same, such as composite types of other fields, enters as text on both. */
function common(local: ColumnFacts, pair: CheckedPair): ColumnFacts {
  const peer = pair.peer.columns.find((c) => c.name === local.name) ?? local;
  return {
    ...local,
    kind: peer.kind === local.kind && peer.base === local.base ? local.kind : "other",
    has_spellings: local.has_spellings && peer.has_spellings,
    textual: local.textual || peer.textual,
    is_builtin: local.is_builtin && peer.is_builtin,
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
  return overlapPlan(buildOf(facts));
}

/** What the plan of a comparison, or of a merge, is made from. */
export function buildOf(facts: PairFacts): Build {
  const pair = checkPair(facts);
  const sameEncoding = pair.local.encoding === pair.peer.encoding;
  const reader = (column: ColumnFacts): ColumnReader => ({ column, sameEncoding });
  const columns = pair.local.columns.map((c) => common(c, pair)).sort(byName);
  const key = chooseKey(pair).map((k) => common(k, pair));
  const buckets = bucketCount(pair.local, pair.peer);
  const compared = columns.filter((c) => !c.generated || key.some((k) => k.name === c.name));
  return {
    pair,
    key,
    keyReaders: key.map(reader),
    readers: compared.map(reader),
    buckets,
    range: rangeType(key),
    peerHasFunctions: pair.local.functions !== null && pair.local.functions === pair.peer.functions,
  };
}

export function overlapPlan(build: Build): OverlapPlan {
  const { pair, key, buckets } = build;
  return {
    table: pair.table,
    key: key.map((c) => c.name),
    keys: keysExpression(build),
    columns: build.readers.map((r) => r.column.name),
    local: sidePlan(build, pair.local),
    peer: sidePlan(build, pair.peer),
    spellings: !hasOwnDigest(build) && build.readers.some(hasSpellings),
    buckets,
    ranges: rangePlan(build),
    hash_bucket: hashBucket(build),
    join: joinQuery(build),
  };
}
