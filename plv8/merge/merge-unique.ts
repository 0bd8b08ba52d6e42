import { type Build, type Gap, keyNames, packed, relation } from "../overlap/overlap-build.ts";
import { keyValue, outputOf } from "../overlap/overlap-expressions.ts";
import type { ColumnFacts, TableFacts } from "../overlap/overlap-facts.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import type { PeerWriteFacts, UniqueFacts, WriteFacts } from "./merge-facts.ts";

/** How rows that are to come are checked against a unique index, or an exclusion constraint, which is not that of the key. */
export interface UniqueCheck {
  readonly index: string;
  /** on both sides: rows may change its values among each other within one transaction */
  readonly deferrable: boolean;
  /** of the values that come */
  readonly types: readonly string[];
  /** at the source: arrays no and each expression of the index; gap: keys, a FROM item */
  readonly incoming: Gap;
  /** the same here of an undo, of rows whose images are $1 and whose numbers are $2; null: images do not say it */
  readonly restored: string | null;
  /** at the target: rows of other keys that have those values: no, key, example; gap: keys, then those values, FROM items */
  readonly find: readonly [before: string, between: string, after: string];
}

/** How rows that were written are checked against a constraint that PostgreSQL itself does not check without triggers. */
export interface UniqueRecheck {
  readonly index: string;
  readonly excludes: boolean;
  /** two rows that it does not allow, if there are any; gap: keys of rows, a FROM item */
  readonly find: Gap;
}

const names = (prefix: string, n: number) =>
  Array.from({ length: n }, (_, i) => `${prefix}${i + 1}`);

/** What an index is of: the table, or one partition. */
function indexedRelation({ pair }: Build, side: TableFacts, index: UniqueFacts): string {
  return index.part === null
    ? relation(side, pair.table)
    : relation({ ...side, kind: index.part_kind ?? "r" }, index.part);
}

const expressionsOf = (index: UniqueFacts) =>
  index.expressions.map((e, i) => `(${e}) as steep_e${i + 1}`);

const whereOf = ({ predicate }: UniqueFacts) => (predicate === null ? "" : ` where ${predicate}`);

/** A table's keys (k1, ...) and an index's expressions (e1, ...), of the rows that are in the index. */
function indexed(
  build: Build,
  side: TableFacts,
  index: UniqueFacts,
  more: readonly string[] = [],
): string {
  const keys = build.key.map((c, i) => `${keyValue(c)} as steep_k${i + 1}`);
  const columns = [...keys, ...expressionsOf(index), ...more].join(", ");
  return `(select ${columns} from ${indexedRelation(build, side, index)} t${whereOf(index)})`;
}

/** The expressions (e1, ...) of rows whose images are $1, with their place among those (steep_i); no domain's checks are run. */
function restored({ readers }: Build, index: UniqueFacts): string {
  const columns = readers.map((r) => r.column);
  const names = columns.map((c) => quoteIdent(c.name));
  const typed = columns.map((c) => `${quoteIdent(c.name)} ${c.base_type}`);
  const rows = `rows from (steep_repl._image_rows($1) as (${typed.join(", ")})) with ordinality`;
  const values = ["steep_i", ...expressionsOf(index)].join(", ");
  return `(select ${values} from ${rows} t(${names.join(", ")}, steep_i)${whereOf(index)})`;
}

/** Whether two rows of one side, t and o, have values that the index does not allow together. */
function standsInTheWay(index: UniqueFacts): string {
  const same = index.expressions.map((_, i) => {
    const [one, other] = [`t.steep_e${i + 1}`, `o.steep_e${i + 1}`];
    const equal =
      index.readings[i] === "text"
        ? `${outputOf(one)} = ${outputOf(other)}`
        : `${one} ${index.operators[i] ?? "="} ${other}`;
    return index.nulls_not_distinct ? `(${equal} or ${one} is null and ${other} is null)` : equal;
  });
  return [...same, "(t.steep_of, t.steep_at) <> (o.steep_of, o.steep_at)"].join(" and ");
}

function recheck(build: Build, side: TableFacts, index: UniqueFacts): UniqueRecheck {
  const keys = keyNames(build.key);
  const rows = indexed(build, side, index, ["t.tableoid as steep_of", "t.ctid as steep_at"]);
  const show = (row: string) =>
    `concat_ws(', ', ${keys.map((k) => `${row}.steep_${k}`).join(", ")})`;
  return {
    index: index.name,
    excludes: index.excludes,
    find: [
      `select (select format('keys %s and %s', ${show("o")}, ${show("t")}) from `,
      ` w(no, ${keys.join(", ")}) join ${rows} o on ${keys
        .map((k) => `o.steep_${k} = w.${k}`)
        .join(" and ")} join ${rows} t on ${standsInTheWay(index)} limit 1)`,
    ],
  };
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
  const rows = (side: TableFacts) => `${indexed(build, side, index)} t`;
  const crossing = crossings(index);
  const sameKey = keys.map((k) => `t.steep_${k} = w.${k}`).join(" and ");
  const show = (columns: readonly string[]) => `concat_ws(', ', ${columns.join(", ")})`;
  return {
    index: index.name,
    deferrable: index.deferrable,
    types: crossing.map((c) => c.type),
    incoming: [
      `select ${packed(["w.no", ...crossing.map((c) => c.sent)])} from `,
      ` w(no, ${keys.join(", ")}) join ${rows(source)} on ${sameKey}`,
    ],
    restored: index.of_generated
      ? null
      : `select ${packed(["($2::int[])[t.steep_i]", ...crossing.map((c) => c.sent)])} from ${restored(build, index)} t`,
    find: [
      `select w.no, array[${keys.map((k) => `t.steep_${k}::text`).join(", ")}] as key, format(${quoteLiteral("%s and %s")}, ${show(
        keys.map((k) => `w.${k}`),
      )}, ${show(keys.map((k) => `t.steep_${k}`))}) as example from `,
      ` w(no, ${keys.join(", ")}) join `,
      ` i(no, ${values.join(", ")}) using (no) join ${rows(target)} on ${crossing
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
  return common(local, peer)
    .map(({ ours, theirs }) => ({ ...ours, deferrable: ours.deferrable && theirs.deferrable }))
    .filter((index) => !isOfKey(build, index));
}

/** Checks of rows that were written, against constraints that are deferrable on one side at least, that of the key as well. */
export function uniqueRechecks(
  build: Build,
  local: WriteFacts,
  peer: PeerWriteFacts,
  side: TableFacts,
): readonly UniqueRecheck[] {
  return common(local, peer)
    .filter(({ ours, theirs }) => ours.deferrable || theirs.deferrable)
    .map(({ ours }) => recheck(build, side, ours));
}

/** Indexes that both sides have and that run no code of others. */
function common(local: WriteFacts, peer: PeerWriteFacts) {
  return local.unique.flatMap((index) => {
    const theirs = peer.unique.find((t) => t.name === index.name && t.part === index.part);
    if (!index.is_harmless || !theirs?.is_harmless || theirs.bound !== index.bound) {
      return [];
    }
    const isAsText = !index.excludes && !theirs.is_exact;
    const ours = isAsText ? { ...index, readings: index.readings.map(withoutMade) } : index;
    return [{ ours, theirs }];
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
