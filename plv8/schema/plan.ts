import type { Change, Pair, Surroundings } from "./change.ts";
import { isConstraintTrigger, type SchemaObject, type Side } from "./schema-objects.ts";
import { type Key, key, type Ties, tiesOf } from "./ties.ts";

/*
 * A table that differs, and which objects must be gone while each change of it is made.
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

/** What a pair is of, ours if we have it. */
export const objectOf = ({ local, peer }: Pair) => (local ?? peer) as SchemaObject;

/** Whether a row only explains, and nothing else does what it is about. */
export const isLeft = ({ change }: Row) => change.kind === "none" && change.isDone !== true;

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
