import type { Addition, Firing, Index, RowSecurity, Rule, Trigger } from "./schema-objects.ts";
import { comment, script } from "./statements.ts";

/*
 * Statements for what is added to a table: how to make it, and to remove it.
 */

const firing: { readonly [state in Firing]: string } = {
  O: "enable",
  D: "disable",
  R: "enable replica",
  A: "enable always",
};

/** Has a trigger or rule fire at other times. */
export function fire(table: string, { type, quoted }: Trigger | Rule, state: Firing): string {
  return `alter table ${table} ${firing[state]} ${type} ${quoted};`;
}

function replicaIdentity(table: string, clause: string): string {
  return `alter table ${table} replica identity ${clause};`;
}

function rowSecurity(table: string, { facts }: RowSecurity): string {
  return `alter table ${table} ${facts.enabled ? "enable" : "disable"} row level security, ${
    facts.forced ? "force" : "no force"
  } row level security;`;
}

/** Why no statement is suggested where partition keys differ. */
export const otherPartitioning =
  "how a table is partitioned cannot be altered: make a new one and copy";

/** Why no statement is suggested for an index that is not valid here. */
export function invalidIndex({ facts }: Index): string {
  return facts.is_whole
    ? "the local index is invalid: attach an index of each partition to it, or drop it there"
    : "the local index is invalid: reindex or drop it there";
}

/** Statements that make it at the peer. */
export function create(table: string, object: Addition): string {
  switch (object.type) {
    case "constraint":
      return script(
        `alter table ${table} add constraint ${object.quoted} ${object.facts.statement};`,
        object.facts.is_replica_identity
          ? replicaIdentity(table, `using index ${object.quoted}`)
          : null,
      );
    case "index":
      if (!object.facts.is_valid) {
        return comment(invalidIndex(object));
      }
      return script(
        `${object.definition};`,
        object.facts.is_replica_identity
          ? replicaIdentity(table, `using index ${object.facts.replica_name}`)
          : null,
      );
    case "partition":
      return `alter table ${object.facts.parent} attach partition ${table} ${object.facts.bound};`;
    case "inheritance":
      return `alter table ${table} inherit ${object.quoted};`;
    case "policy":
      return `${object.definition};`;
    case "trigger":
      return script(
        object.facts.is_clone ? null : `${object.facts.statement};`,
        object.facts.is_clone || object.facts.enabled !== "O"
          ? fire(table, object, object.facts.enabled)
          : null,
      );
    case "rule":
      return script(
        `${object.facts.statement};`,
        object.facts.enabled === "O" ? null : fire(table, object, object.facts.enabled),
      );
    case "type":
      return `alter table ${table} of ${object.facts.of};`;
    case "partition key":
      return comment(otherPartitioning);
    case "replica identity":
      return replicaIdentity(table, object.facts.clause);
    case "row security":
      return rowSecurity(table, object);
  }
}

/** Statements that take it away. */
export function drop(table: string, object: Addition): string {
  switch (object.type) {
    case "constraint":
      return `alter table ${table} drop constraint ${object.quoted};`;
    case "index":
      return `drop index ${object.quoted};`;
    case "partition":
      return script(
        comment("what it has from its parent becomes its own then: compare again"),
        `alter table ${object.facts.parent} detach partition ${table};`,
      );
    case "inheritance":
      return `alter table ${table} no inherit ${object.quoted};`;
    case "policy":
      return `drop policy ${object.quoted} on ${table};`;
    case "trigger":
      return object.facts.is_clone
        ? fire(table, object, object.facts.parent_enabled ?? "O")
        : `drop trigger ${object.quoted} on ${table};`;
    case "rule":
      return `drop rule ${object.quoted} on ${table};`;
    case "type":
      return `alter table ${table} not of;`;
    case "partition key":
      return comment(otherPartitioning);
    case "replica identity":
      return replicaIdentity(table, "default");
    // every table has it
    case "row security":
      return "";
  }
}
