import type { Change, Pair, Surroundings } from "./change.ts";
import { parentOf } from "./change.ts";
import {
  type Column,
  isConstraintTrigger,
  type SchemaObject,
  type Side,
} from "./schema-objects.ts";
import { comment, script } from "./statements.ts";
import { type Key, key, type Ties, tiesOf } from "./ties.ts";

/*
 * Which changes can be made, with what must be gone meanwhile, and which cannot, and why.
 */

/** A difference, in the order in which they are mended. */
export interface Row {
  readonly pair: Pair;
  readonly change: Change;
}

/** A table that differs, with all that decides what can be done about it. */
export interface Table {
  readonly around: Surroundings;
  readonly rows: readonly Row[];
  readonly rowOf: ReadonlyMap<Pair, number>;
  /** of all objects of the peer */
  readonly pairs: ReadonlyMap<Key, Pair>;
  readonly local: Ties;
  readonly peer: Ties;
  readonly localSide: Side;
  readonly peerSide: Side;
  /** objects whose rows only explain */
  readonly left: ReadonlySet<Key>;
}

/** An object, for people. */
export const nameOf = ({ type, quoted }: SchemaObject) => `${type} ${quoted}`;

const objectOf = ({ local, peer }: Pair) => (local ?? peer) as SchemaObject;

const isLeft = ({ change }: Row) => change.kind === "none" && change.isDone !== true;

/** The table, with changes as they are wanted. */
export function tableOf(
  around: Surroundings,
  rows: readonly Row[],
  all: readonly Pair[],
  local: Side,
  peer: Side,
): Table {
  const pairs = new Map(
    all.flatMap((pair) => (pair.peer === undefined ? [] : [[key(pair.peer), pair] as const])),
  );
  return {
    around,
    rows,
    rowOf: new Map(rows.map(({ pair }, at) => [pair, at])),
    pairs,
    local: tiesOf(local),
    peer: tiesOf(peer),
    localSide: local,
    peerSide: peer,
    left: new Set(rows.filter(isLeft).map(({ pair }) => key(objectOf(pair)))),
  };
}

/**
 * Objects of the peer that must be gone while a row's statements run, those first that others of them are needed by.
 * A column's go with all that is on them.
 */
export function cleared(table: Table, at: number): readonly Pair[] {
  const { pair, change } = table.rows[at] as Row;
  if (change.kind === "none") {
    return [];
  }
  const found = new Map<Key, Pair>();
  const visit = (of: Key, wanted: (other: Pair, object: SchemaObject) => boolean) => {
    for (const above of table.peer.above(of)) {
      const other = table.pairs.get(above);
      if (other?.peer === undefined || found.has(above) || isOver(table, other, at)) continue;
      if (!wanted(other, other.peer)) continue;
      found.set(above, other);
      visit(above, () => true);
    }
  };
  if (pair.peer !== undefined) {
    visit(key(pair.peer), (other, object) =>
      change.clears({ pair: other, object, differs: table.rowOf.has(other) }),
    );
  }
  const others = [...table.pairs.values()].filter(
    ({ peer }) =>
      (change.untypes === true && peer?.type === "type") ||
      (pair.peer === undefined && hasNameOf(peer, pair.local)),
  );
  for (const other of others) {
    if (!isOver(table, other, at)) found.set(key(other.peer as SchemaObject), other);
  }
  return [...found.values()].reverse();
}

/** Whether what is to be made as a constraint must wait for one that has its name. */
function hasNameOf(peer: SchemaObject | undefined, local: SchemaObject | undefined): boolean {
  return isConstraintTrigger(peer) && local?.type === "constraint" && peer?.name === local.name;
}

/** Whether an object of the peer is like ours, or gone, when a row's turn comes. */
function isOver(table: Table, pair: Pair, at: number): boolean {
  const row = table.rowOf.get(pair) ?? at;
  const change = table.rows[row]?.change;
  return row < at && change?.kind === "statements";
}

/** Why an object of the peer cannot be out of the way for a while, or null. */
function keeps(table: Table, { local, peer }: Pair): string | null {
  const object = peer as Exclude<SchemaObject, { type: "table" }>;
  const what = nameOf(object);
  if (object.type === "partition key") {
    return "the table is partitioned by it";
  }
  const isParents =
    (object.type === "column" || object.type === "constraint") &&
    parentOf(table.around, object) !== undefined;
  if (isParents || (object.type === "trigger" && object.facts.is_clone)) {
    return `${what}, which depends on it, is the parent's`;
  }
  const outside = table.peerSide.outside.find(
    ({ type, name }) => type === object.type && name === object.name,
  );
  if (outside !== undefined) {
    return `${outside.what} depends on ${what}, which depends on it`;
  }
  if (table.left.has(key(object)) || (local !== undefined && waitsFor(table, local) !== null)) {
    return `${what}, which depends on it, could not be made again`;
  }
  return null;
}

/** What an object that is to be made needs, and what is left as the peer has it. */
function waitsFor(table: Table, local: SchemaObject): string | null {
  const below = table.local.below(key(local)).find((one) => table.left.has(one));
  if (below !== undefined) {
    const [type, name] = JSON.parse(below) as [string, string];
    return `${type} ${name}`;
  }
  if (!isPartOfAnother(local)) {
    return ofParent(table, local);
  }
  const left = table.rows.find((row) => isLeft(row) && isNeededBy(local, row.pair));
  return left === undefined ? null : nameOf(objectOf(left.pair));
}

/** What a partition does not become, if an object needs what it would have from its parent then, such as a key. */
function ofParent({ local: ties, localSide, rows }: Table, local: SchemaObject): string | null {
  const listed = new Set(localSide.objects.map(key));
  const partition = rows.find((row) => isLeft(row) && row.pair.local?.type === "partition");
  return partition !== undefined && ties.below(key(local)).some((one) => !listed.has(one))
    ? nameOf(objectOf(partition.pair))
    : null;
}

const isPartOfAnother = ({ type }: SchemaObject) =>
  type === "partition" || type === "inheritance" || type === "type";

/** What a table must be like to become part of another. */
function isNeededBy(object: SchemaObject, { local, peer }: Pair): boolean {
  const other = (local ?? peer) as SchemaObject;
  switch (object.type) {
    case "partition":
      return other.type === "column" || (other.type === "constraint" && other.facts.kind === "c");
    case "type":
      return other.type === "column";
    case "inheritance":
      return (
        (other.type === "column" || other.type === "constraint") &&
        (local as Column | undefined)?.facts.parents.includes(object.quoted) === true
      );
    default:
      return false;
  }
}

const isNamed = (object: SchemaObject | undefined) =>
  object?.type === "constraint" || object?.type === "index" || isConstraintTrigger(object);

/** Whoever has the name that an object is to get, and keeps it. */
function holderOfName(table: Table, { local, peer }: Pair): SchemaObject | undefined {
  if (local === undefined || !isNamed(local) || (peer !== undefined && isNamed(peer))) {
    return undefined;
  }
  return table.rows.find(
    (row) => isLeft(row) && isNamed(row.pair.peer) && row.pair.peer?.name === local.name,
  )?.pair.peer;
}

/** What an object of ours needs and the peer does not have, or null. */
function lack({ peerSide }: Table, local: SchemaObject | undefined): string | null {
  return (
    peerSide.lacks.find(({ type, name }) => type === local?.type && name === local.name)?.why ??
    null
  );
}

/** What children of the peer's table have of the same name and could not be one with it, or null. */
function disagreement({ peerSide }: Table, { local, peer }: Pair): string | null {
  const isColumn = local?.type === "column" && peer === undefined;
  const isCheck =
    local?.type === "constraint" &&
    (local.facts.kind === "f" ||
      (local.facts.kind === "c" && !local.definition.includes(" NO INHERIT")));
  const isPrimary = local?.type === "constraint" && local.facts.kind === "p" && peer === undefined;
  const losesNotNull =
    local?.type === "column" &&
    peer?.type === "column" &&
    peer.facts.not_null &&
    !local.facts.not_null;
  const one = peerSide.lower.find(({ type, name, definition }) =>
    type === "own constraint"
      ? ((local?.type === "constraint" || isConstraintTrigger(local)) &&
          peer === undefined &&
          name === local?.name) ||
        (losesNotNull && definition.startsWith("PRIMARY KEY"))
      : isPrimary
        ? type === "constraint" && definition.startsWith("PRIMARY KEY")
        : (isColumn || isCheck) &&
          type === local.type &&
          name === local.name &&
          definition !== (local.type === "column" ? local.facts.type : (peer ?? local).definition),
  );
  return one === undefined ? null : `${one.what} is in the way`;
}

/** Why a row's statements cannot be run, or null. */
function reasonAgainst(table: Table, at: number): string | null {
  const { pair, change } = table.rows[at] as Row;
  const { local, peer } = pair;
  if (change.kind === "none") {
    return null;
  }
  if (table.around.isPartitionedOtherwise) {
    return "the table is partitioned otherwise: make a new one and copy";
  }
  if (change.untypes === true && table.around.typed !== null) {
    return `the table is of type ${table.around.typed}: alter that type`;
  }
  const outside = table.peerSide.outside.find(
    (one) => one.type === peer?.type && one.name === peer.name && change.stopsAt(one),
  );
  if (outside !== undefined) {
    return outside.kind === "not null"
      ? `${outside.what} needs NOT NULL: see to it first`
      : `${outside.what} depends on it: drop it before, and make it again afterwards`;
  }
  const missing = lack(table, local) ?? disagreement(table, pair);
  if (missing !== null) {
    return missing;
  }
  const needed =
    local === undefined || change.renames !== undefined ? null : waitsFor(table, local);
  if (needed !== null) {
    return `it needs ${needed}, which is left as it is: see there`;
  }
  const holder = holderOfName(table, pair);
  if (holder !== undefined) {
    return `${nameOf(holder)} has its name, and is left as it is`;
  }
  return (
    cleared(table, at)
      .map((other) => keeps(table, other))
      .find((why) => why !== null) ?? null
  );
}

/** The same table, where what cannot be done is only explained. */
export function settled(table: Table): Table {
  const rows = [...table.rows];
  const left = new Set(table.left);
  const now: Table = { ...table, rows, left };
  let isSettled = false;
  while (!isSettled) {
    isSettled = true;
    for (const [at, { pair, change }] of rows.entries()) {
      const why = reasonAgainst(now, at);
      if (why === null || change.kind === "none") continue;
      const text = script(comment(why), comment(change.sql(true)));
      rows[at] = { pair, change: { kind: "none", text } };
      left.add(key(objectOf(pair)));
      // others may need it
      isSettled = false;
    }
  }
  return now;
}
