import { create } from "./addition-sql.ts";
import { columnClause, createSequence, ownSequence, restOfColumn } from "./column-clause.ts";
import {
  type Addition,
  isConstraintTrigger,
  ofType,
  type Partition,
  type SchemaObject,
  type Table,
} from "./schema-objects.ts";
import { comment, script, withheld } from "./statements.ts";

const persistence = { p: "", u: "unlogged " } as const;

/** It becomes part of another when it has all that this demands; nothing is merged that differs. */
function createItself(table: Table, objects: readonly SchemaObject[]): string {
  const columns = ofType(objects, "column");
  const partitionKey = ofType(objects, "partition key")[0];
  const key = partitionKey === undefined ? "" : ` partition by ${partitionKey.definition}`;
  const list = columns.map((c) => `\n  ${columnClause(c)}`).join(",");
  return `create ${persistence[table.facts.persistence]}table ${table.quoted} (${list})${key};`;
}

/** What a new table has without being told. */
function isDefault(object: Addition): boolean {
  return (
    object.type === "partition key" ||
    (object.type === "replica identity" && object.definition === "default") ||
    (object.type === "row security" && object.definition === "disabled")
  );
}

/** Whether an object is made before others that may need it: a foreign key, its primary key. */
function rank(object: Addition): number {
  switch (object.type) {
    case "constraint":
      // the first one of several is taken for that of the parent
      if (object.facts.is_part) return 0;
      return object.facts.kind === "f" ? 4 : object.facts.kind === "c" ? 2 : 1;
    case "index":
      return 2;
    case "trigger":
      // a partition's copies of its parent's constraints get other names then
      return isConstraintTrigger(object) ? 2 : 5;
    case "partition":
    case "inheritance":
    case "type":
      return 3;
    default:
      return 5;
  }
}

/** Attaches a partition, which takes a key or index that it has for one of its parent's, even if there are two of them here. */
export function attach(
  table: string,
  partition: Partition,
  objects: readonly SchemaObject[],
): string {
  const isOwn = (one: SchemaObject) =>
    (one.type === "index" && !one.facts.is_part) ||
    (one.type === "constraint" && "pu".includes(one.facts.kind) && !one.facts.is_part);
  return script(
    objects.some(isOwn)
      ? comment(
          "a key or index that it has may become a part of one of its parent's then: compare again",
        )
      : null,
    create(table, partition),
  );
}

/** All statements that make a table as it is here. */
export function createTable(
  table: Table,
  objects: readonly SchemaObject[],
  hasSchema: boolean,
): string {
  const columns = ofType(objects, "column");
  const additions = objects
    .filter((o): o is Addition => o.type !== "table" && o.type !== "column")
    .filter((o) => !isDefault(o));
  // made with the constraint or index
  const hasIdentity = additions.some(
    (o) => (o.type === "constraint" || o.type === "index") && o.facts.is_replica_identity,
  );
  return script(
    hasSchema ? null : `create schema ${table.facts.schema};`,
    ...columns.map(createSequence),
    createItself(table, objects),
    ...columns.map((column) => ownSequence({ table: table.quoted, owner: null }, column)),
    ...columns.map((column) => restOfColumn(table.quoted, column)),
    ...additions
      .filter((object) => !(hasIdentity && object.type === "replica identity"))
      .sort((a, b) => rank(a) - rank(b))
      .map((object) =>
        object.type === "partition"
          ? attach(table.quoted, object, objects)
          : create(table.quoted, object),
      ),
  );
}

/** Nobody drops a table without a thought. */
export function dropTable(table: Table): string {
  return withheld(`drop table ${table.quoted};`, "the rows in it would be lost");
}

/** LOGGED or UNLOGGED, as it is here. */
export function changePersistence(local: Table): string {
  return `alter table ${local.quoted} set ${local.facts.persistence === "u" ? "unlogged" : "logged"};`;
}
