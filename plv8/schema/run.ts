import { create, drop } from "./addition-sql.ts";
import type { Pair } from "./change.ts";
import { dropColumnNote } from "./column-clause.ts";
import { addColumnSql } from "./column-sql.ts";
import { cleared, type Row, type Table } from "./plan.ts";
import type { Addition, SchemaObject } from "./schema-objects.ts";
import { comment, script } from "./statements.ts";
import { type Key, key } from "./ties.ts";

/*
 * The statements of all rows, as the peer's table is when each one's turn comes: what was taken away for a row, and
 * has no row of its own that makes it anew, comes back as soon as it can.
 */

interface Present {
  readonly object: SchemaObject;
  readonly pair: Pair;
}

interface State {
  /** of the peer's objects: what they are called now, and what becomes of them */
  readonly there: Map<Key, Present>;
  /** what comes back */
  readonly away: Map<Key, SchemaObject>;
  /** objects of ours that the peer does not have yet */
  readonly missing: Set<Key>;
  columns: readonly string[];
  /** for each row, what must be away */
  readonly cleared: readonly (readonly Key[])[];
}

function start(table: Table): State {
  const { pairs, rows, peerSide } = table;
  const made = rows.filter(
    ({ pair, change }) => pair.local !== undefined && change.kind === "statements",
  );
  return {
    there: new Map(
      [...pairs].map(([of, pair]) => [of, { object: pair.peer as SchemaObject, pair }]),
    ),
    away: new Map(),
    missing: new Set([
      ...made.map(({ pair }) => key(pair.local as SchemaObject)),
      ...(made.some(({ pair }) => pair.local?.type === "partition") ? fromParent(table) : []),
    ]),
    columns: peerSide.objects.filter(({ type }) => type === "column").map(({ name }) => name),
    cleared: rows.map((_, at) => cleared(table, at).map(({ peer }) => key(peer as SchemaObject))),
  };
}

/** What others of our table need and a partition has from its parent, such as a key. */
function fromParent({ local, localSide }: Table): readonly Key[] {
  const listed = new Set(localSide.objects.map(key));
  return localSide.objects.flatMap((object) =>
    local.below(key(object)).filter((one) => !listed.has(one)),
  );
}

/** What others may need is made first, and taken away last. */
function rank(object: SchemaObject): number {
  switch (object.type) {
    case "column":
      return 0;
    case "constraint":
      return object.facts.kind === "f" ? 3 : object.facts.kind === "c" ? 2 : 1;
    case "index":
      return 2;
    default:
      return 4;
  }
}

function dropSql(relation: string, object: SchemaObject): string {
  return object.type === "column"
    ? script(dropColumnNote(object), `alter table ${relation} drop column ${object.quoted};`)
    : drop(relation, object as Addition);
}

function createSql({ around }: Table, object: SchemaObject): string {
  return object.type === "column"
    ? addColumnSql(around, object)
    : create(around.table, object as Addition);
}

function takeAway(table: Table, state: State, at: number): string {
  const gone = (state.cleared[at] ?? [])
    .flatMap((of) => {
      const present = state.there.get(of);
      return present === undefined ? [] : [[of, present] as const];
    })
    .sort(([, a], [, b]) => rank(b.object) - rank(a.object));
  for (const [of, { object, pair }] of gone) {
    state.there.delete(of);
    if (object.type === "column")
      state.columns = state.columns.filter((name) => name !== object.name);
    if (pair.local !== undefined && !hasRowAfter(table, pair, at)) state.away.set(of, pair.local);
  }
  return script(...gone.map(([, { object }]) => dropSql(table.around.table, object)));
}

function hasRowAfter({ rowOf }: Table, pair: Pair, at: number): boolean {
  return (rowOf.get(pair) ?? at) > at;
}

/** What can come back after a row: nothing that it needs is missing, and no later row has it away again. */
function bringBack(table: Table, state: State, at: number): string {
  if (state.away.size === 0) {
    return "";
  }
  const again = new Set(state.cleared.slice(at + 1).flat());
  const able = ([of, local]: readonly [Key, SchemaObject]) =>
    !again.has(of) &&
    !table.local.below(key(local)).some((one) => state.missing.has(one) || state.away.has(one));
  const back: SchemaObject[] = [];
  for (;;) {
    const next = [...state.away].filter(able).sort(([, a], [, b]) => rank(a) - rank(b))[0];
    if (next === undefined) break;
    back.push(next[1]);
    state.away.delete(next[0]);
    if (next[1].type === "column") state.columns = [...state.columns, next[1].name];
  }
  return script(...back.map((object) => createSql(table, object)));
}

/** The columns of a typed table stand in the order that its type has. */
function typeOrder({ localSide }: Table, state: State): string | null {
  const wanted = localSide.objects.filter(({ type }) => type === "column").map(({ name }) => name);
  return JSON.stringify(wanted) !== JSON.stringify(state.columns)
    ? comment(
        "the columns are not in the order that they have in the type: make a new table and copy",
      )
    : null;
}

function place(state: State, { pair, change }: Row, isThere: boolean): void {
  const object = pair.local ?? pair.peer;
  if (object?.type !== "column" || change.kind === "none") return;
  const others = state.columns.filter((name) => name !== object.name);
  if (change.moves === "away") state.columns = others;
  else if (!isThere || change.moves === "last") state.columns = [...others, object.name];
}

/** What gets another name is from now on ours. */
function rename(state: State, renamed: SchemaObject, { local }: Pair): void {
  const present = state.there.get(key(renamed));
  if (present === undefined || local === undefined) return;
  const object = { ...present.object, name: local.name, quoted: local.quoted } as SchemaObject;
  state.there.set(key(renamed), { object, pair: { local, peer: renamed } });
}

function perform(table: Table, state: State, at: number): string {
  const row = table.rows[at] as Row;
  const { pair, change } = row;
  if (change.kind === "none") {
    return change.text;
  }
  const disorder = pair.local?.type === "type" ? typeOrder(table, state) : null;
  if (disorder !== null) {
    return disorder;
  }
  const before = takeAway(table, state, at);
  const theirs = change.renames ?? pair.peer;
  const isThere = theirs !== undefined && state.there.has(key(theirs));
  const own = change.sql(isThere);
  place(state, row, isThere);
  if (change.renames !== undefined) rename(state, change.renames, pair);
  if (pair.local !== undefined) state.missing.delete(key(pair.local));
  if (pair.local?.type === "partition") {
    for (const one of fromParent(table)) state.missing.delete(one);
  }
  return script(before, own, bringBack(table, state, at));
}

/** What each row suggests. */
export function suggestions(table: Table): readonly string[] {
  const state = start(table);
  return table.rows.map((_, at) => perform(table, state, at));
}
