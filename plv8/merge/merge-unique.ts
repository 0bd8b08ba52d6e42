import { type Build, type Gap, keyNames, packed, relation } from "../overlap/overlap-build.ts";
import { keyValue, outputOf } from "../overlap/overlap-expressions.ts";
import type { ColumnFacts, TableFacts } from "../overlap/overlap-facts.ts";
import { quoteLiteral } from "../shared/sql-text.ts";
import type { PeerWriteFacts, UniqueFacts, WriteFacts } from "./merge-facts.ts";

/** How rows that are to come are checked against a unique index, or an exclusion constraint, which is not that of the key. */
export interface UniqueCheck {
  readonly index: string;
  /** of the values that come */
  readonly types: readonly string[];
  /** at the source: arrays no and each expression of the index; gap: keys, a FROM item */
  readonly incoming: Gap;
  /** at the target: how many rows of other keys have those values, and some of them; gap: keys, then those values, FROM items */
  readonly find: readonly [before: string, between: string, after: string];
}

const names = (prefix: string, n: number) =>
  Array.from({ length: n }, (_, i) => `${prefix}${i + 1}`);

/** What an index is of: the table, or one partition. */
function indexedRelation({ pair }: Build, side: TableFacts, index: UniqueFacts): string {
  return index.part === null
    ? relation(side, pair.table)
    : relation({ ...side, kind: index.part_kind ?? "r" }, index.part);
}

/** A table's keys (k1, ...) and an index's expressions (e1, ...), of the rows that are in the index. */
function indexed(build: Build, side: TableFacts, index: UniqueFacts): string {
  const { key } = build;
  const keys = key.map((c, i) => `${keyValue(c)} as steep_k${i + 1}`);
  const expressions = index.expressions.map((e, i) => `(${e}) as steep_e${i + 1}`);
  const where = index.predicate === null ? "" : ` where ${index.predicate}`;
  return `(select ${[...keys, ...expressions].join(", ")} from ${indexedRelation(build, side, index)} t${where}) t`;
}

/** How a value of an index crosses: what is sent of `t.steep_e1`, as which type, and how it is the same as what comes as `i.e1`. */
interface Crossing {
  readonly sent: string;
  readonly type: string;
  readonly same: string;
}

function crossings(index: UniqueFacts): readonly Crossing[] {
  return index.types.map((type, i) => {
    const ours = `t.steep_e${i + 1}`;
    const theirs = `i.e${i + 1}`;
    const output = `(${outputOf(ours)}) collate "C"`;
    const operator = index.operators[i];
    const same = (left: string, right: string, equals = "=") =>
      // not IS NOT DISTINCT FROM, for which no index is looked at
      index.nulls_not_distinct
        ? `(${left} ${equals} ${right} or ${left} is null and ${right} is null)`
        : `${left} ${equals} ${right}`;
    const ofIndex = index.excludes ? (operator ?? "=") : "=";
    switch (index.readings[i]) {
      case "value":
        return { sent: ours, type, same: same(ours, theirs, ofIndex) };
      case "cast":
        // arrays of arrays would be taken apart whole
        return {
          sent: `${ours}::text`,
          type: "text",
          same: same(ours, `${theirs}::${type}`, ofIndex),
        };
      case "made":
        return {
          sent: output,
          type: "text",
          same: same(ours, `${theirs}::${type}`, operator ?? "="),
        };
      default:
        return { sent: output, type: "text", same: same(output, theirs) };
    }
  });
}

function uniqueCheck(
  build: Build,
  index: UniqueFacts,
  source: TableFacts,
  target: TableFacts,
): UniqueCheck {
  const keys = keyNames(build.key);
  const values = names("e", index.expressions.length);
  const crossing = crossings(index);
  const sameKey = keys.map((k) => `t.steep_${k} = w.${k}`).join(" and ");
  const show = (columns: readonly string[]) => `concat_ws(', ', ${columns.join(", ")})`;
  return {
    index: index.name,
    types: crossing.map((c) => c.type),
    incoming: [
      `select ${packed(["w.no", ...crossing.map((c) => c.sent)])} from `,
      ` w(no, ${keys.join(", ")}) join ${indexed(build, source, index)} on ${sameKey}`,
    ],
    find: [
      `select count(*) as n, (array_agg(format(${quoteLiteral("%s and %s")}, ${show(keys.map((k) => `w.${k}`))}, ${show(
        keys.map((k) => `t.steep_${k}`),
      )})))[1:5] as examples from `,
      ` w(no, ${keys.join(", ")}) join `,
      ` i(no, ${values.join(", ")}) using (no) join ${indexed(build, target, index)} on ${crossing
        .map((c) => c.same)
        .join(" and ")} where not (${sameKey})`,
    ],
  };
}

/** Whether keys of other texts may be the same to an index over them, by which of its readings that is found. */
function findsOtherTexts(column: ColumnFacts, index: UniqueFacts): boolean {
  const reading = index.readings[index.columns?.indexOf(column.name) ?? -1];
  const isByText = column.kind === "other" || (column.kind === "container" && column.has_spellings);
  return isByText && reading !== "label" && reading !== "text";
}

/** Whether all that an index refuses is a second row of a key, as rows are told apart here. */
function isOfKey({ key }: Build, index: UniqueFacts): boolean {
  return (
    index.part === null &&
    !index.excludes &&
    index.predicate === null &&
    index.columns?.length === key.length &&
    index.columns.every((name) => key.some((c) => c.name === name)) &&
    !key.some((column) => findsOtherTexts(column, index))
  );
}

/**
 * The unique indexes and exclusion constraints that are checked: all but that of the key, but those that run code of
 * others, and those of partitions that have other rows at the peer.
 *
 * They are written as this side's catalogs have them, on both sides: a merge refuses tables whose definitions differ, and
 * what a peer says is not run here. So one that only the peer has is not checked either.
 */
export function checkedIndexes(
  build: Build,
  local: WriteFacts,
  peer: PeerWriteFacts,
): readonly UniqueFacts[] {
  return local.unique.flatMap((ours) => {
    const theirs = peer.unique.find((t) => t.name === ours.name && t.part === ours.part);
    if (theirs === undefined || !theirs.is_harmless || theirs.bound !== ours.bound) {
      return [];
    }
    const isAsText = !ours.excludes && !theirs.is_exact;
    const index = isAsText ? { ...ours, readings: ours.readings.map(withoutMade) } : ours;
    return index.is_harmless && !isOfKey(build, index) ? [index] : [];
  });
}

/** A type's own operator is called where that is harmless on both sides. */
function withoutMade(reading: UniqueFacts["readings"][number]) {
  return reading === "made" ? "text" : reading;
}

/** Checks of those indexes for rows that come from one side to the other. */
export function uniqueChecks(
  build: Build,
  indexes: readonly UniqueFacts[],
  source: TableFacts,
  target: TableFacts,
): readonly UniqueCheck[] {
  return indexes.map((index) => uniqueCheck(build, index, source, target));
}
