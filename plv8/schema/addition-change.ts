import { create, drop, fire, invalidIndex, otherPartitioning } from "./addition-sql.ts";
import { always, type Change, explained, parentOf, type Surroundings, simply } from "./change.ts";
import type { Addition, Constraint, Index } from "./schema-objects.ts";
import { comment, script } from "./statements.ts";

/*
 * What makes what is added to a table at the peer like ours.
 */

type Key = Constraint | Index;

const isKey = (object: Addition): object is Key =>
  object.type === "constraint" || object.type === "index";

/** Of what others can depend on. */
function guarded(sql: (isThere: boolean) => string): Change {
  return { kind: "statements", clears: always, stopsAt: always, sql };
}

/** What makes at the peer what only we have. */
export function createAddition(around: Surroundings, local: Addition): Change {
  if (local.type === "partition key") {
    return explained(otherPartitioning);
  }
  if (local.type === "constraint" && parentOf(around, local) !== undefined) {
    return explained(`add constraint ${local.quoted} to the parent of ${around.table}`);
  }
  if (local.type === "index" && !local.facts.is_valid) {
    return explained(invalidIndex(local));
  }
  const why = local.type === "constraint" ? whyNoPart(around, local) : null;
  return why === null ? simply(create(around.table, local)) : explained(why);
}

/** What takes away what only the peer has. */
export function dropAddition(around: Surroundings, peer: Addition): Change {
  if (peer.type === "partition key") {
    return explained(otherPartitioning);
  }
  if (peer.type === "constraint" && parentOf(around, peer) !== undefined) {
    return explained(`drop constraint ${peer.quoted} from the parent of ${around.table}`);
  }
  if (isKey(peer) && peer.facts.is_part) {
    return explained(partOfParents(around, peer));
  }
  const sql = drop(around.table, peer);
  return isKey(peer) ? guarded(() => sql) : simply(sql);
}

/** Such a one goes with that of the parent only. */
function partOfParents({ table }: Surroundings, { type, quoted }: Key): string {
  return `${type} ${quoted} is a part of one of the parent of ${table}: see to that first`;
}

/** Why a partition's key would not become a part of one of its parent's, as ours is, or null: attaching takes one of the same kind. */
function whyNoPart({ table, isPartition }: Surroundings, { quoted, facts }: Constraint) {
  if (facts.is_same_part) {
    return isPartition
      ? `constraint ${quoted} comes with that of the parent of ${table}: see to that first`
      : null;
  }
  const isTaken = facts.part_kind === facts.kind || facts.part_kind === "i";
  return facts.is_part && (isPartition || !isTaken)
    ? `constraint ${quoted} is a part of one of the parent of ${table} here: add it there before the parent gets that`
    : null;
}

function changeConstraint(around: Surroundings, local: Constraint, peer: Constraint): Change {
  const { table } = around;
  if (peer.compared === `${local.compared} NOT VALID`) {
    return simply((isThere) =>
      isThere ? `alter table ${table} validate constraint ${local.quoted};` : create(table, local),
    );
  }
  if (peer.facts.is_part) {
    return explained(partOfParents(around, peer));
  }
  const why = whyNoPart(around, local);
  if (why !== null) {
    return explained(why);
  }
  if (local.facts.is_part && local.facts.statement === peer.facts.statement) {
    const text = comment("it becomes a part of one of the parent with the partition, see there");
    return { kind: "none", text, isDone: true };
  }
  if (parentOf(around, peer) !== undefined) {
    return explained(`change constraint ${peer.quoted} of the parent of ${table}`);
  }
  return guarded((isThere) =>
    isThere
      ? create(table, local).replace(
          `alter table ${table} `,
          () => `alter table ${table} drop constraint ${peer.quoted}, `,
        )
      : create(table, local),
  );
}

/** What makes what both have like ours. */
export function changeAddition(around: Surroundings, local: Addition, peer: Addition): Change {
  const { table } = around;
  if (local.type === "partition key" || (local.type === "index" && !local.facts.is_valid)) {
    return createAddition(around, local);
  }
  if (local.type === "constraint" && peer.type === "constraint") {
    return changeConstraint(around, local, peer);
  }
  if (peer.type === "index" && peer.facts.is_part) {
    return explained(partOfParents(around, peer));
  }
  const isFiring = local.type === "trigger" || local.type === "rule";
  if (isFiring && peer.type === local.type && local.facts.statement === peer.facts.statement) {
    return simply((isThere) =>
      isThere ? fire(table, local, local.facts.enabled) : create(table, local),
    );
  }
  const replaces =
    local.type !== "replica identity" && local.type !== "row security" && local.type !== "type";
  // what cannot be created does not leave the table without what was there: rows of a partition would be gone from it
  const sql = (isThere: boolean) =>
    isThere && replaces
      ? script("begin;", drop(table, peer), create(table, local), "commit;")
      : create(table, local);
  return isKey(peer) ? guarded(sql) : simply(sql);
}
