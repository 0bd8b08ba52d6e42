import { create } from "./addition-sql.ts";
import { columnClause, createSequence, ownSequence } from "./column-sql.ts";
import {
  type Addition,
  type Column,
  ofType,
  type SchemaObject,
  type Table,
} from "./schema-objects.ts";
import { script, withheld } from "./statements.ts";

const persistence = { p: "", u: "unlogged " } as const;

/** A partition gets its columns from its parent; what may differ is set afterwards. */
function createAsPartition(
  table: Table,
  columns: readonly Column[],
  bound: string,
  key: string,
): string {
  const steps = columns
    .filter((c) => c.facts.generated === "")
    .flatMap((c) => [
      c.facts.not_null && !c.facts.parent_not_null ? `alter column ${c.quoted} set not null` : "",
      c.facts.expression === c.facts.parent_expression
        ? ""
        : `alter column ${c.quoted} ${
            c.facts.expression === null ? "drop default" : `set default ${c.facts.expression}`
          }`,
    ])
    .filter((step) => step !== "");
  return script(
    `create ${persistence[table.facts.persistence]}table ${table.quoted} partition of ${table.facts.parent} ${bound}${key};`,
    steps.length === 0 ? null : `alter table ${table.quoted} ${steps.join(", ")};`,
  );
}

function createItself(table: Table, objects: readonly SchemaObject[]): string {
  const columns = ofType(objects, "column");
  const partitionKey = ofType(objects, "partition key")[0];
  const key = partitionKey === undefined ? "" : ` partition by ${partitionKey.definition}`;
  const partition = ofType(objects, "partition")[0];
  if (partition !== undefined) {
    return createAsPartition(table, columns, partition.facts.bound, key);
  }
  const parents = ofType(objects, "inheritance").map((o) => o.quoted);
  const inherits = parents.length === 0 ? "" : ` inherits (${parents.join(", ")})`;
  const list = columns.map((c) => `\n  ${columnClause(c)}`).join(",");
  return `create ${persistence[table.facts.persistence]}table ${table.quoted} (${list})${inherits}${key};`;
}

/** What a new table has without being told. */
function isDefault(object: Addition): boolean {
  return (
    object.type === "partition key" ||
    object.type === "partition" ||
    object.type === "inheritance" ||
    (object.type === "replica identity" && object.definition === "default") ||
    (object.type === "row security" && object.definition === "disabled")
  );
}

/** Whether an object is made before others that may need it: a foreign key, its primary key. */
function rank(object: Addition): number {
  switch (object.type) {
    case "constraint":
      return object.facts.kind === "f" ? 3 : object.facts.kind === "c" ? 2 : 1;
    case "index":
      return 2;
    default:
      return 4;
  }
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
    ...columns.map((column) => ownSequence(table.quoted, column)),
    ...additions
      .filter((object) => !(hasIdentity && object.type === "replica identity"))
      .sort((a, b) => rank(a) - rank(b))
      .map((object) => create(table.quoted, object)),
  );
}

export function dropTable(table: Table): string {
  return withheld(`drop table ${table.quoted};`, "the rows in it would be lost");
}

export function changePersistence(local: Table): string {
  return `alter table ${local.quoted} set ${local.facts.persistence === "u" ? "unlogged" : "logged"};`;
}
