import { SteepError } from "../db/steep-error.ts";
import type { ColumnFacts, KeyFacts, PairFacts, TableFacts } from "./overlap-facts.ts";
import { readPeerTable } from "./peer-table.ts";

/** The same, with a table on either side. */
export interface CheckedPair extends PairFacts {
  readonly local: TableFacts;
  readonly peer: TableFacts;
}

const sides = ["local", "peer"] as const;

/** "peer: " before what is said of the other side. */
function at(side: "local" | "peer"): string {
  return side === "peer" ? "peer: " : "";
}

const kinds: { readonly [kind: string]: string } = {
  v: "a view",
  m: "a materialized view",
  f: "a foreign table",
  S: "a sequence",
  i: "an index",
  c: "a type",
};

function checkTable(pair: PairFacts, side: "local" | "peer"): void {
  const facts = pair[side];
  if (facts === null) {
    throw new SteepError({
      sqlstate: "42P01",
      message: `${at(side)}table ${pair.table} does not exist`,
      hint: "Give each table as schema.table, quoted where SQL would quote it.",
    });
  }
  if (facts.kind !== "r" && facts.kind !== "p") {
    throw new SteepError({
      sqlstate: "42809",
      message: `${at(side)}${pair.table} is ${kinds[facts.kind] ?? "no table"}`,
      hint: "Compare the tables that hold the rows.",
    });
  }
  const unreadable = facts.columns.filter((c) => !c.readable).map((c) => c.name);
  if (unreadable.length > 0) {
    throw new SteepError({
      sqlstate: "42501",
      message: `${at(side)}permission denied for table ${pair.table}`,
      detail: `There is no right to read: ${unreadable.join(", ")}.`,
      hint: `GRANT SELECT ON ${pair.table} TO the role that compares.`,
    });
  }
}

/** Columns of one side that the other has not, and those whose types differ. */
function checkColumns(pair: CheckedPair): void {
  const missing = (from: TableFacts, side: TableFacts) =>
    from.columns.filter((c) => !side.columns.some((o) => o.name === c.name)).map((c) => c.name);
  const differing = pair.local.columns.flatMap((c) => {
    const other = pair.peer.columns.find((o) => o.name === c.name);
    return other !== undefined && other.type !== c.type
      ? [`${c.name} (${c.type} here, ${other.type} at the peer)`]
      : [];
  });
  const parts = [
    ["missing at the peer", missing(pair.local, pair.peer)],
    ["missing here", missing(pair.peer, pair.local)],
    ["of another type", differing],
  ] as const;
  const found = parts.filter(([, names]) => names.length > 0);
  if (found.length > 0) {
    throw new SteepError({
      sqlstate: differing.length > 0 && found.length === 1 ? "42804" : "42703",
      message: `the columns of table ${pair.table} differ from those at the peer`,
      detail: found.map(([what, names]) => `${what}: ${names.join(", ")}`).join("; "),
      hint: "See steep_repl.schema_diff() for statements that make them equal.",
    });
  }
}

/** Refuse what cannot be compared, before anything is read. */
export function checkPair(pair: PairFacts): CheckedPair {
  const read = { ...pair, peer: readPeerTable(pair.table, pair.peer) };
  for (const side of sides) {
    checkTable(read, side);
  }
  const checked = read as CheckedPair;
  checkColumns(checked);
  return checked;
}

/** Columns that identify a row: those that the caller names, or of a key without NULLs that either side has. */
export function chooseKey(pair: CheckedPair): readonly ColumnFacts[] {
  const names =
    pair.key ?? (pair.local.keys[0] ?? pair.peer.keys[0])?.columns ?? missingKey(pair.table);
  const columns = names.map((name) => pair.local.columns.find((c) => c.name === name));
  const unknown = names.filter((_, i) => columns[i] === undefined);
  if (unknown.length > 0) {
    throw new SteepError({
      sqlstate: "42703",
      message: `table ${pair.table} has no column ${unknown.join(", ")}`,
      hint: "Correct primary_keys.",
    });
  }
  return columns as readonly ColumnFacts[];
}

function missingKey(table: string): never {
  throw new SteepError({
    sqlstate: "55000",
    message: `table ${table} has no primary key`,
    detail:
      "Nor has it another unique index over columns without NULLs. A NOT NULL that is NOT VALID lets them be.",
    hint: `Name columns that identify a row: primary_keys => '{${JSON.stringify(table)}: ["column"]}'.`,
  });
}

/** Whether a unique index without NULLs is over no other columns than the key's: committed rows have no doubles then. */
export function isUnique(side: TableFacts, key: readonly ColumnFacts[]): boolean {
  return side.keys.some((k) => isOver(k, key));
}

/** The same of rows that are not committed, too: a deferrable constraint is checked at a transaction's end. */
export function isGuarded(side: TableFacts, key: readonly ColumnFacts[]): boolean {
  return side.keys.some((k) => k.immediate && isOver(k, key));
}

function isOver({ columns }: KeyFacts, key: readonly ColumnFacts[]): boolean {
  return columns.every((name) => key.some((c) => c.name === name));
}
