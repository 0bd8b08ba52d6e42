import { type Build, type Gap, keyNames, packed, relation } from "../overlap/overlap-build.ts";
import { keyValue, outputOf } from "../overlap/overlap-expressions.ts";
import type { TableFacts } from "../overlap/overlap-facts.ts";
import { quoteLiteral } from "../shared/sql-text.ts";
import type { PeerWriteFacts, UniqueFacts, WriteFacts } from "./merge-facts.ts";

/** How rows that are to come are checked against a unique index which is not that of the key. */
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

/** A table's keys (k1, ...) and an index's expressions (e1, ...), of the rows that are in the index. */
function indexed({ key, pair }: Build, side: TableFacts, index: UniqueFacts): string {
  const keys = key.map((c, i) => `${keyValue(c)} as steep_k${i + 1}`);
  const expressions = index.expressions.map((e, i) => `(${e}) as steep_e${i + 1}`);
  const where = index.predicate === null ? "" : ` where ${index.predicate}`;
  return `(select ${[...keys, ...expressions].join(", ")} from ${relation(side, pair.table)} t${where}) t`;
}

/** How a value of an index crosses: what is sent of `t.steep_e1`, as which type, and what is compared with what comes as `i.e1`. */
interface Crossing {
  readonly sent: string;
  readonly type: string;
  readonly ours: string;
  readonly theirs: string;
}

function crossings(index: UniqueFacts): readonly Crossing[] {
  return index.types.map((type, i) => {
    const ours = `t.steep_e${i + 1}`;
    const theirs = `i.e${i + 1}`;
    switch (index.readings[i]) {
      case "value":
        return { sent: ours, type, ours, theirs };
      case "cast":
        // arrays of arrays would be taken apart whole
        return { sent: `${ours}::text`, type: "text", ours, theirs: `${theirs}::${type}` };
      default: {
        const output = `(${outputOf(ours)}) collate "C"`;
        return { sent: output, type: "text", ours: output, theirs };
      }
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
  const equals = index.nulls_not_distinct ? "is not distinct from" : "=";
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
        .map((c) => `${c.ours} ${equals} ${c.theirs}`)
        .join(" and ")} where not (${sameKey})`,
    ],
  };
}

/**
 * The unique indexes that are checked: all but that of the key, and but those that run code of others.
 *
 * They are written as this side's catalogs have them, on both sides: a merge refuses tables whose definitions differ, and
 * what a peer says is not run here. So one that only the peer has is not checked either.
 */
export function checkedIndexes(
  build: Build,
  local: WriteFacts,
  peer: PeerWriteFacts,
): readonly UniqueFacts[] {
  const isOfKey = ({ columns, predicate }: UniqueFacts) =>
    predicate === null &&
    columns?.length === build.key.length &&
    columns.every((name) => build.key.some((k) => k.name === name));
  return local.unique.filter(
    (index) =>
      !isOfKey(index) &&
      index.is_harmless &&
      peer.unique.some((theirs) => theirs.name === index.name && theirs.is_harmless),
  );
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
