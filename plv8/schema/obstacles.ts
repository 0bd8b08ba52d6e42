import { type Pair, parentOf } from "./change.ts";
import { cleared, isLeft, nameOf, objectOf, type Row, type Table } from "./plan.ts";
import {
  type Column,
  isClone,
  isConstraintTrigger,
  type Lower,
  type SchemaObject,
} from "./schema-objects.ts";
import { comment, script } from "./statements.ts";
import { key } from "./ties.ts";

/*
 * Which changes cannot be made, and why.
 */

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
  if (isParents || isClone(object)) {
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
  return partition !== undefined &&
    (isClone(local) || isPart(local) || ties.below(key(local)).some((one) => !listed.has(one)))
    ? nameOf(objectOf(partition.pair))
    : null;
}

/** Of a key of the parent, as the same. */
const isPart = (local: SchemaObject) => local.type === "constraint" && local.facts.is_same_part;

const isPartOfAnother = ({ type }: SchemaObject) =>
  type === "partition" || type === "inheritance" || type === "type";

const isPrimaryKey = (object: SchemaObject | undefined) =>
  object?.type === "constraint" && object.facts.kind === "p";

/** What a table must be like to become part of another. */
function isNeededBy(object: SchemaObject, { local, peer }: Pair): boolean {
  const other = (local ?? peer) as SchemaObject;
  switch (object.type) {
    case "partition":
      return (
        other.type === "column" ||
        (other.type === "constraint" && other.facts.kind === "c") ||
        // its parent's may be another one
        (local === undefined && isPrimaryKey(other))
      );
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

/** Why there is no place for what only one can have, a name or the primary key, or null: one that is left has it. */
function occupied(table: Table, { local, peer }: Pair): string | null {
  const left = table.rows.filter(isLeft).flatMap((row) => row.pair.peer ?? []);
  const other = left.find((object) => object !== peer && isPrimaryKey(object));
  if (other !== undefined && isPrimaryKey(local)) {
    return `${nameOf(other)} is the primary key, and is left as it is`;
  }
  if (local === undefined || !isNamed(local) || (peer !== undefined && isNamed(peer))) {
    return null;
  }
  const holder = left.find((object) => isNamed(object) && object.name === local.name);
  return holder === undefined ? null : `${nameOf(holder)} has its name, and is left as it is`;
}

/** What an object of ours needs and the peer does not have, or null. */
function lack({ peerSide }: Table, local: SchemaObject | undefined): string | null {
  return (
    peerSide.lacks.find(({ type, name }) => type === local?.type && name === local.name)?.why ??
    null
  );
}

/** Whether a check or foreign key comes to children, too. */
const isPassedOn = (local: SchemaObject | undefined) =>
  local?.type === "constraint" &&
  (local.facts.kind === "f" ||
    (local.facts.kind === "c" && !local.definition.includes(" NO INHERIT")));

/** Whether children get NOT NULL with the column. */
function passesNotNull(local: Column, peer: SchemaObject | undefined): boolean {
  const from = peer?.type === "column" ? peer.facts : null;
  const { not_null, not_null_no_inherit } = local.facts;
  return not_null && !not_null_no_inherit && (from?.not_null !== true || from.not_null_no_inherit);
}

const losesNotNull = (local: SchemaObject | undefined, peer: SchemaObject | undefined) =>
  local?.type === "column" &&
  peer?.type === "column" &&
  peer.facts.not_null &&
  !local.facts.not_null;

/** A column's type as children must have it. */
const typeOf = ({ facts }: Column) =>
  facts.collation === null ? facts.type : `${facts.type} COLLATE ${facts.collation}`;

const isPrimary = ({ definition }: Lower) => definition.startsWith("PRIMARY KEY");

/** Whether a child has something that cannot become one with what a row makes, or cannot be beside it. */
function disagrees(lower: Lower, { local, peer }: Pair): boolean {
  const isNew = peer === undefined;
  const isNamesake = local !== undefined && lower.name === local.name;
  const isKey = isPrimary(lower);
  switch (lower.type) {
    case "own constraint":
      return (
        (isNew && isNamesake && (local.type === "constraint" || isConstraintTrigger(local))) ||
        (isKey && (losesNotNull(local, peer) || (isNew && isPrimaryKey(local))))
      );
    case "own trigger":
      return isNew && isNamesake && local.type === "trigger" && !isClone(local);
    case "constraint":
      return (
        (isKey && isNew && isPrimaryKey(local)) ||
        (isNamesake && isPassedOn(local) && lower.definition !== (peer ?? local).compared)
      );
    case "column":
      return isNew && isNamesake && local.type === "column" && lower.definition !== typeOf(local);
    case "not null":
      return (
        isNamesake &&
        local.type === "column" &&
        passesNotNull(local, peer) &&
        (lower.definition === "NO INHERIT" || (isNew && !local.facts.not_null_not_valid))
      );
    case "table":
      return isNew && local?.type === "column" && local.facts.identity !== "";
    default:
      return false;
  }
}

/** What of the peer's children is in the way, or null. */
function disagreement({ peerSide }: Table, { pair, change }: Row): string | null {
  // what is renamed is there already
  const isRenamed = change.kind === "statements" && change.renames !== undefined;
  const one = peerSide.lower.find(
    (lower) => !(isRenamed && isPrimary(lower)) && disagrees(lower, pair),
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
  const missing = lack(table, local) ?? disagreement(table, table.rows[at] as Row);
  if (missing !== null) {
    return missing;
  }
  const needed =
    local === undefined || change.renames !== undefined ? null : waitsFor(table, local);
  if (needed !== null) {
    return `it needs ${needed}, which is left as it is: see there`;
  }
  return (
    occupied(table, pair) ??
    cleared(table, at)
      .map((other) => keeps(table, other))
      .find((why) => why !== null) ??
    null
  );
}

/** What is not renamed after all has its name. */
function keepName(rows: Row[], peer: SchemaObject, what: string): void {
  const at = rows.findIndex(({ pair }) => pair.local === undefined && pair.peer === peer);
  const row = rows[at];
  if (row === undefined) return;
  rows[at] = { ...row, change: { kind: "none", text: comment(`it is left: see ${what}`) } };
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
      if (change.renames !== undefined) keepName(rows, change.renames, nameOf(objectOf(pair)));
      // others may need it
      isSettled = false;
    }
  }
  return now;
}
