import { type Build, byKeys, type Gap } from "../overlap/overlap-build.ts";
import type { ColumnFacts, TableFacts } from "../overlap/overlap-facts.ts";
import { quoteIdent, quoteLiteral } from "../shared/sql-text.ts";
import type { PlaceFacts, ValueFacts } from "./merge-facts.ts";
import { output, withKeys } from "./merge-queries.ts";

/*
 * Rows that the side they go to has no place for: no partition takes them, or a value names what is not there.
 */

/** How rows that come to a side are tested. */
export interface PlaceTest {
  /** at the source: rows as json, their values as text; gap: keys, a FROM item */
  readonly incoming: Gap;
  /** at the target: a command that finds rows without a place; rows and answer are settings, see sql/merge/places.sql */
  readonly test: string;
}

/** The tests of both sides, where there is something to test. */
export interface PlaceTests {
  readonly local: PlaceTest | null;
  readonly peer: PlaceTest | null;
  /** what is not tested, and why, for people */
  readonly untested: readonly string[];
}

/** What is tested of rows that come to one side. */
interface Wanted {
  /** columns that partition keys are made of; null: each side has the same partitions */
  readonly partitioned: readonly string[] | null;
  readonly values: readonly ValueFacts[];
}

function wanted(local: PlaceFacts, peer: PlaceFacts, target: PlaceFacts): Wanted {
  const [ours, theirs] = [local.partitions, peer.partitions];
  const isSame = ours === null || theirs === null || ours.bounds === theirs.bounds;
  const isHarmless = ours?.is_harmless === true && theirs?.is_harmless === true;
  return {
    partitioned: isSame || !isHarmless ? null : [...new Set([...ours.columns, ...theirs.columns])],
    values: target.tests_values ? local.values.filter((v) => isTestable(v, peer)) : [],
  };
}

const peerOf = ({ name }: ValueFacts, peer: PlaceFacts) =>
  peer.values.find((value) => value.name === name);

/** Whether a value may be another one, or none, at the other side. */
function mayDiffer(value: ValueFacts, peer: PlaceFacts): boolean {
  return value.has_names || value.labels !== peerOf(value, peer)?.labels;
}

function isTestable(value: ValueFacts, peer: PlaceFacts): boolean {
  return mayDiffer(value, peer) && value.is_harmless && peerOf(value, peer)?.is_harmless !== false;
}

/** A column of the rows that come, by its name. */
const incomingName = (columns: readonly ColumnFacts[], name: string) =>
  `e${columns.findIndex((c) => c.name === name) + 1}`;

/** Columns by which a partition is found, as their types and not as domains, whose checks would run. */
function partitioning(columns: readonly ColumnFacts[], names: readonly string[]): string {
  return columns
    .filter((c) => names.includes(c.name))
    .map((c) => `i.${incomingName(columns, c.name)}::${c.base_type} as ${quoteIdent(c.name)}`)
    .join(", ");
}

/** What is wrong with a value, or NULL: it cannot be read there, or is read as another one. */
function valueReason(columns: readonly ColumnFacts[], { name, type }: ValueFacts): string {
  const value = `i.${incomingName(columns, name)}`;
  const said = (what: string) => `${quoteLiteral(`column ${quoteIdent(name)}: `)} || ${what}`;
  const literal = quoteLiteral(type);
  // of text, the cast to regclass is a function, which does not take all that there is
  const read = `((${value}::bpchar)::${type})::text`;
  return `when not pg_input_is_valid(${value}, ${literal}) then ${said(`(pg_input_error_info(${value}, ${literal})).message`)}
    when ${read} is distinct from ${value} then ${said(`${quoteLiteral("it would be read as ")} || ${read}`)}`;
}

function placeTest(
  build: Build,
  side: "here" | "at the peer",
  { partitioned, values }: Wanted,
  source: TableFacts,
): PlaceTest | null {
  const names = [...(partitioned ?? []), ...values.map((v) => v.name)];
  const columns = build.pair.local.columns.filter((c) => names.includes(c.name));
  if (columns.length === 0) {
    return null;
  }
  const { table } = build.pair;
  const sent = columns.map((c, i) => `, 'e${i + 1}', ${output(c)}`).join("");
  const declared = columns.map((_, i) => `, e${i + 1} text`).join("");
  const noPartition = quoteLiteral(`no partition of relation "${table}" found for row`);
  const placed = `exists (select from (select ${partitioning(columns, partitioned ?? [])}) steep where coalesce(`;
  const before = `select coalesce(json_agg(json_build_object('no', i.no, 'reason', r.reason || ${quoteLiteral(` (${side})`)})), '[]')
    from jsonb_to_recordset($1::jsonb) i(no int${declared})
    cross join lateral (select case ${partitioned === null ? "" : `when not ${placed}`}`;
  const after = `${partitioned === null ? "" : `, true)) then ${noPartition}`}
    ${values.map((v) => valueReason(columns, v)).join(" ")} end) r(reason) where r.reason is not null`;
  const bounds =
    partitioned === null
      ? ""
      : `select coalesce(string_agg(coalesce('(' || pg_get_partition_constraintdef(p.relid) || ')', 'true'), ' or '), 'false')
         into bounds from pg_partition_tree(${quoteLiteral(table)}::regclass) p where p.isleaf;`;
  return {
    incoming: byKeys(build, source, [
      `select coalesce(json_agg(json_build_object('no', w.no${sent})), '[]')::text from `,
      withKeys(build, source),
    ]),
    test: `do ${quoteLiteral(`declare bounds text := ''; unfit text; begin ${bounds}
      execute ${quoteLiteral(before)} || bounds || ${quoteLiteral(after)} into unfit using current_setting('steep_repl_merge.rows');
      execute 'set steep_repl_merge.unfit = ' || quote_literal(unfit); end`)}`,
  };
}

/** What a side has not, and nobody looks for before rows are written. */
function untested({ pair }: Build, local: PlaceFacts, peer: PlaceFacts): readonly string[] {
  const [ours, theirs] = [local.partitions, peer.partitions];
  const isUnplaced =
    ours !== null &&
    theirs !== null &&
    ours.bounds !== theirs.bounds &&
    !(ours.is_harmless && theirs.is_harmless);
  const tests = local.tests_values && peer.tests_values;
  return [
    ...(isUnplaced ? [`partitions of table ${pair.table}`] : []),
    ...local.values
      .filter((v) => mayDiffer(v, peer) && !(tests && isTestable(v, peer)))
      .map((v) => `column ${quoteIdent(v.name)} of table ${pair.table}`),
  ];
}

/** How rows of a table that go to either side are tested. */
export function placeTests(build: Build, local: PlaceFacts, peer: PlaceFacts): PlaceTests {
  const { pair } = build;
  return {
    local: placeTest(build, "here", wanted(local, peer, local), pair.peer),
    peer: placeTest(build, "at the peer", wanted(local, peer, peer), pair.local),
    untested: untested(build, local, peer),
  };
}
