import { changeAddition, createAddition, dropAddition } from "./addition-change.ts";
import { create } from "./addition-sql.ts";
import {
  always,
  type Change,
  explained,
  never,
  type Pair,
  type Surroundings,
  simply,
} from "./change.ts";
import { addColumn, alterColumn, dropColumn } from "./column-sql.ts";
import { agreed } from "./kin.ts";
import { settled } from "./obstacles.ts";
import { checkPeerSide } from "./peer-objects.ts";
import { namesake, phase } from "./phases.ts";
import { tableOf } from "./plan.ts";
import { suggestions } from "./run.ts";
import {
  type Addition,
  type Constraint,
  type Difference,
  isClone,
  ofType,
  type SchemaObject,
  type Side,
  type Table,
} from "./schema-objects.ts";
import { comment, script } from "./statements.ts";
import { attach, changePersistence, createTable, dropTable } from "./table-sql.ts";

function pairs(local: readonly SchemaObject[], peer: readonly SchemaObject[]): readonly Pair[] {
  // a primary key must be gone before another is made, whatever has its name, and so must a trigger before a partition gets one
  const kind = (o: SchemaObject) => (o.type === "constraint" ? o.facts.kind : isClone(o));
  const key = (o: SchemaObject) => JSON.stringify([o.type, kind(o), o.name]);
  const theirs = new Map(peer.map((o) => [key(o), o]));
  const ours = new Set(local.map(key));
  return [
    ...local.map((o) => ({ local: o, peer: theirs.get(key(o)) })),
    ...peer.filter((o) => !ours.has(key(o))).map((o) => ({ local: undefined, peer: o })),
  ];
}

function renaming({ table }: Surroundings, local: Constraint, peer: SchemaObject): Change {
  return {
    kind: "statements",
    clears: never,
    stopsAt: never,
    renames: peer,
    sql: (isThere) =>
      isThere
        ? `alter table ${table} rename constraint ${peer.quoted} to ${local.quoted};`
        : create(table, local),
  };
}

function persistence(local: Table): Change {
  return {
    kind: "statements",
    clears: never,
    stopsAt: always,
    sql: () => changePersistence(local),
  };
}

function changeOf(around: Surroundings, pair: Pair, all: readonly Pair[]): Change {
  const { local, peer } = pair;
  if (comesAfterDetaching(pair, all)) {
    return explained("detach the partition first, then compare again");
  }
  const other = namesake(pair, all);
  if (other?.local !== undefined) {
    const text = comment(`it is renamed to ${other.local.quoted}, see there`);
    return { kind: "none", text, isDone: true };
  }
  if (other?.peer !== undefined) {
    return renaming(around, local as Constraint, other.peer);
  }
  if (local === undefined && peer !== undefined) {
    return peer.type === "column"
      ? dropColumn(around, peer)
      : dropAddition(around, peer as Addition);
  }
  if (local?.type === "column") {
    return peer?.type === "column" ? alterColumn(around, local, peer) : addColumn(around, local);
  }
  if (local?.type === "table") {
    return persistence(local);
  }
  if (local?.type === "partition" && peer === undefined) {
    const ours = all.flatMap((one) => one.local ?? []);
    return simply(attach(around.table, local, ours));
  }
  return peer === undefined
    ? createAddition(around, local as Addition)
    : changeAddition(around, local as Addition, peer as Addition);
}

function ofTable(all: readonly Pair[]): Table | undefined {
  return ofType(
    all.flatMap(({ peer }) => (peer === undefined ? [] : [peer])),
    "table",
  )[0];
}

function surroundings(table: Table, all: readonly Pair[], peerVersion: number): Surroundings {
  const kept = all.filter(({ local, peer }) => local !== undefined && peer !== undefined);
  const typed = kept.find(
    ({ local, peer }) => local?.type === "type" && local.compared === peer?.compared,
  );
  return {
    table: table.quoted,
    owner: ofTable(all)?.facts.owner ?? null,
    peerVersion,
    parents: new Set(
      kept.flatMap(({ peer }) =>
        peer?.type === "inheritance"
          ? [peer.quoted]
          : peer?.type === "partition"
            ? [peer.facts.parent]
            : [],
      ),
    ),
    isPartition: kept.some(({ peer }) => peer?.type === "partition"),
    isPartitionedOtherwise: all.some(
      ({ local, peer }) =>
        (local ?? peer)?.type === "partition key" && local?.compared !== peer?.compared,
    ),
    typed: typed?.local?.type === "type" ? typed.local.facts.of : null,
  };
}

/** A partition that is detached keeps as its own what it had from its parent. */
function comesAfterDetaching({ local, peer }: Pair, all: readonly Pair[]): boolean {
  const type = (local ?? peer)?.type;
  return (
    (type === "constraint" || type === "index" || type === "trigger") &&
    all.some((other) => other.local === undefined && other.peer?.type === "partition")
  );
}

function difference({ local, peer }: Pair, suggested: string): Difference {
  const object = (local ?? peer) as SchemaObject;
  return {
    object_type: object.type,
    object_name: object.name,
    local_definition: local?.definition ?? null,
    peer_definition: peer?.definition ?? null,
    status: local === undefined ? "peer_only" : peer === undefined ? "local_only" : "mismatch",
    suggested_sql: suggested,
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

/** A table is made whole, or not at all. */
function lacking({ lacks }: Side, statements: string): string {
  return lacks.length === 0
    ? statements
    : script(...lacks.map(({ why }) => comment(why)), comment(statements));
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
        : lacking(sides.peer, createTable(object, side.objects, sides.peer.has_schema)),
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
  const { local, peer } = agreed(sides.local, checkPeerSide(sides.peer));
  const here = ofType(local.objects, "table")[0];
  const there = ofType(peer.objects, "table")[0];
  if (here === undefined || there === undefined) {
    return [missing(here, there, { local, peer })];
  }
  const order = orderDifference(here, local, peer);
  return [...differences(here, local, peer), ...(order === null ? [] : [order])];
}

function differences(table: Table, local: Side, peer: Side): readonly Difference[] {
  const all = pairs(local.objects, peer.objects);
  const around = surroundings(table, all, peer.version);
  const rows = all
    .filter((pair) => pair.local?.compared !== pair.peer?.compared)
    .map((pair) => ({ pair, change: changeOf(around, pair, all), phase: phase(pair, all) }))
    .sort((a, b) => a.phase - b.phase);
  const plan = settled(tableOf(around, rows, all, local, peer));
  const suggested = suggestions(plan);
  return plan.rows.map(({ pair }, at) => difference(pair, suggested[at] ?? ""));
}
