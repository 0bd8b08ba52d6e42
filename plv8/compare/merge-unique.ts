import type { UniqueFacts, WriteFacts } from "./merge-facts.ts";
import { type Build, type Gap, keyNames, packed, relation } from "./overlap-build.ts";
import { keyValue } from "./overlap-expressions.ts";
import type { TableFacts } from "./overlap-facts.ts";
import { quoteLiteral } from "./sql-text.ts";

/** How rows that are to come are checked against a unique index which is not that of the key. */
export interface UniqueCheck {
  readonly index: string;
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

function uniqueCheck(
  build: Build,
  index: UniqueFacts,
  source: TableFacts,
  target: TableFacts,
): UniqueCheck {
  const keys = keyNames(build.key);
  const values = names("e", index.expressions.length);
  const sameKey = keys.map((k) => `t.steep_${k} = w.${k}`).join(" and ");
  const equals = index.nulls_not_distinct ? "is not distinct from" : "=";
  const show = (columns: readonly string[]) => `concat_ws(', ', ${columns.join(", ")})`;
  return {
    index: index.name,
    types: index.types,
    incoming: [
      `select ${packed(["w.no", ...values.map((v) => `t.steep_${v}`)])} from `,
      ` w(no, ${keys.join(", ")}) join ${indexed(build, source, index)} on ${sameKey}`,
    ],
    find: [
      `select count(*) as n, (array_agg(format(${quoteLiteral("%s and %s")}, ${show(keys.map((k) => `w.${k}`))}, ${show(
        keys.map((k) => `t.steep_${k}`),
      )})))[1:5] as examples from `,
      ` w(no, ${keys.join(", ")}) join `,
      ` i(no, ${values.join(", ")}) using (no) join ${indexed(build, target, index)} on ${values
        .map((v) => `t.steep_${v} ${equals} i.${v}`)
        .join(" and ")} where not (${sameKey})`,
    ],
  };
}

/** Checks of all unique indexes of the target that are not over the key alone. */
export function uniqueChecks(
  build: Build,
  writes: WriteFacts,
  source: TableFacts,
  target: TableFacts,
): readonly UniqueCheck[] {
  const isOfKey = ({ columns, predicate }: UniqueFacts) =>
    predicate === null &&
    columns?.length === build.key.length &&
    columns.every((name) => build.key.some((k) => k.name === name));
  return writes.unique
    .filter((index) => !isOfKey(index))
    .map((index) => uniqueCheck(build, index, source, target));
}
