import * as addition from "./addition-sql.ts";
import { addColumn, alterColumn, dropColumn, losesNotNull } from "./column-sql.ts";
import { checkPeerSide } from "./peer-objects.ts";
import {
  type Addition,
  type Difference,
  ofType,
  type SchemaObject,
  type Side,
  type Table,
} from "./schema-objects.ts";
import { comment } from "./statements.ts";
import { changePersistence, createTable, dropTable } from "./table-sql.ts";

interface Pair {
  readonly local: SchemaObject | undefined;
  readonly peer: SchemaObject | undefined;
}

function pairs(local: readonly SchemaObject[], peer: readonly SchemaObject[]): readonly Pair[] {
  // a primary key must be gone before another is made, whatever has its name
  const key = (o: SchemaObject) =>
    JSON.stringify([o.type, o.type === "constraint" ? o.facts.kind : "", o.name]);
  const theirs = new Map(peer.map((o) => [key(o), o]));
  const ours = new Set(local.map(key));
  return [
    ...local.map((o) => ({ local: o, peer: theirs.get(key(o)) })),
    ...peer.filter((o) => !ours.has(key(o))).map((o) => ({ local: undefined, peer: o })),
  ];
}

function suggestion(table: string, pair: Pair, all: readonly Pair[], peerVersion: number): string {
  const { local, peer } = pair;
  if (comesAfterDetaching(pair, all)) {
    return comment("detach the partition first, then compare again");
  }
  const other = namesake(pair, all);
  if (other?.local !== undefined) {
    return comment(`it is renamed to ${other.local.quoted}, see there`);
  }
  if (other?.peer !== undefined) {
    return `alter table ${table} rename constraint ${other.peer.quoted} to ${local?.quoted};`;
  }
  if (local === undefined && peer !== undefined) {
    return peer.type === "column"
      ? dropColumn(table, peer)
      : addition.drop(table, peer as Addition);
  }
  if (local?.type === "column") {
    return peer?.type === "column"
      ? alterColumn(table, local, peer, peerVersion)
      : addColumn(table, local);
  }
  if (local?.type === "table") {
    return changePersistence(local);
  }
  return peer === undefined
    ? addition.create(table, local as Addition)
    : addition.change(table, local as Addition, peer as Addition);
}

/**
 * When a statement may run: what goes first leaves room, and so does what is
 * renamed, columns that no longer are generated let go of others, columns come
 * before what is on them, and a column can become nullable when its key has gone.
 */
function phase(pair: Pair, all: readonly Pair[]): number {
  const { local, peer } = pair;
  const object = local ?? peer;
  switch (object?.type) {
    case "table":
      return 0;
    case "column":
      if (local === undefined) return 9;
      if (peer?.type !== "column" || local.type !== "column") return 2;
      if (peer.facts.generated !== "" && local.facts.generated === "") return 1.7;
      return losesNotNull(local, peer) ? 3.5 : 2;
    case "constraint": {
      const isForeign = object.facts.kind === "f";
      if (local === undefined) return isForeign ? 1 : 1.5;
      if (namesake(pair, all) !== undefined) return 1.6;
      return isForeign ? 5 : object.facts.kind === "c" ? 4 : 3;
    }
    case "index":
      return local === undefined ? 1.5 : 4;
    case "policy":
    case "trigger":
      return local === undefined ? 1 : 8;
    case "partition":
    case "inheritance":
      return local === undefined ? 0 : 7;
    default:
      return 7;
  }
}

/** The same constraint under another name, at the peer: what refers to a key keeps it from being dropped. */
function namesake({ local, peer }: Pair, all: readonly Pair[]): Pair | undefined {
  if ((local ?? peer)?.type !== "constraint" || (local !== undefined && peer !== undefined)) {
    return undefined;
  }
  const same = (o: SchemaObject | undefined) =>
    o?.type === "constraint" && o.compared === (local ?? peer)?.compared;
  const ours = all.filter((pair) => pair.peer === undefined && same(pair.local));
  const theirs = all.filter((pair) => pair.local === undefined && same(pair.peer));
  return local === undefined
    ? ours[theirs.findIndex((pair) => pair.peer === peer)]
    : theirs[ours.findIndex((pair) => pair.local === local)];
}

/** A partition that is detached keeps as its own what it had from its parent. */
function comesAfterDetaching({ local, peer }: Pair, all: readonly Pair[]): boolean {
  const type = (local ?? peer)?.type;
  return (
    (type === "constraint" || type === "index" || type === "trigger") &&
    all.some((other) => other.local === undefined && other.peer?.type === "partition")
  );
}

function difference(
  table: string,
  pair: Pair,
  all: readonly Pair[],
  peerVersion: number,
): Difference {
  const { local, peer } = pair;
  const object = (local ?? peer) as SchemaObject;
  return {
    object_type: object.type,
    object_name: object.name,
    local_definition: local?.definition ?? null,
    peer_definition: peer?.definition ?? null,
    status: local === undefined ? "peer_only" : peer === undefined ? "local_only" : "mismatch",
    suggested_sql: suggestion(table, pair, all, peerVersion),
  };
}

/** Of the columns that both have. Replication goes by name, so order is no mismatch. */
function orderDifference(table: Table, local: Side, peer: Side): Difference | null {
  const ours = ofType(local.objects, "column");
  const theirs = ofType(peer.objects, "column");
  const shared = (of: typeof ours, others: typeof ours) =>
    of.filter((c) => others.some((other) => other.name === c.name)).map((c) => c.quoted);
  const here = shared(ours, theirs).join(", ");
  const there = shared(theirs, ours).join(", ");
  if (here === there) {
    return null;
  }
  return {
    object_type: "column order",
    object_name: table.name,
    local_definition: here,
    peer_definition: there,
    status: "order",
    suggested_sql: comment(
      "no need: it matters only to INSERT and COPY without a list of columns, and to SELECT *",
    ),
  };
}

function missing(here: Table | undefined, there: Table | undefined, sides: Sides): Difference {
  const object = (here ?? there) as Table;
  const side = here === undefined ? sides.peer : sides.local;
  const whole = createTable(object, side.objects, true);
  return {
    object_type: "table",
    object_name: object.name,
    local_definition: here === undefined ? null : whole,
    peer_definition: here === undefined ? whole : null,
    status: here === undefined ? "peer_only" : "local_only",
    suggested_sql:
      here === undefined
        ? dropTable(object)
        : createTable(object, side.objects, sides.peer.has_schema),
  };
}

export interface Sides {
  readonly local: Side;
  readonly peer: Side;
}

/**
 * How a table differs, in an order in which the suggestions can be run at the
 * peer. A table that one side lacks is one difference.
 */
export function schemaDiff(sides: Sides): readonly Difference[] {
  const { local } = sides;
  const peer = checkPeerSide(sides.peer);
  const here = ofType(local.objects, "table")[0];
  const there = ofType(peer.objects, "table")[0];
  if (here === undefined || there === undefined) {
    return [missing(here, there, sides)];
  }
  const order = orderDifference(here, local, peer);
  const all = pairs(local.objects, peer.objects);
  return [
    ...all
      .filter((pair) => pair.local?.compared !== pair.peer?.compared)
      .map((pair) => ({ pair, phase: phase(pair, all) }))
      .sort((a, b) => a.phase - b.phase)
      .map(({ pair }) => difference(here.quoted, pair, all, peer.version)),
    ...(order === null ? [] : [order]),
  ];
}
