import {
  always,
  type Change,
  type Dependent,
  explained,
  never,
  nothing,
  parentOf,
  type Surroundings,
} from "./change.ts";
import {
  columnClause,
  createSequence,
  defaultClause,
  dropColumnNote,
  ownSequence,
  type Place,
  restOfColumn,
  startSequence,
} from "./column-clause.ts";
import { alteration, becomesNullable, isRetyped } from "./column-steps.ts";
import type { Column, Outside } from "./schema-objects.ts";
import { comment, script, withheld } from "./statements.ts";
import { typeChange } from "./type-change.ts";

/*
 * What makes a column of the peer like ours.
 */

const lost = "the values in it would be lost";

/** ADD COLUMN with all that belongs to it. */
export function addColumnSql(place: Place, column: Column): string {
  const { table } = place;
  const { not_null, expression, identity, sequence, default_error } = column.facts;
  const isWithoutDefault = default_error !== null;
  return script(
    not_null && (expression === null || isWithoutDefault) && identity === ""
      ? comment(
          "fails where the table has rows: then add it without not null, fill it, set not null",
        )
      : null,
    createSequence(column),
    isWithoutDefault ? comment(`no row can have its default: ${default_error}`) : null,
    `alter table ${table} add column ${columnClause(column, true)};`,
    isWithoutDefault
      ? `alter table ${table} alter column ${column.quoted} set ${defaultClause(expression)};`
      : null,
    ownSequence(place, column),
    restOfColumn(table, column),
    sequence === null ? null : startSequence(table, column),
  );
}

/** What adds a column that only we have. */
export function addColumn(around: Surroundings, column: Column): Change {
  if (around.isPartition || parentOf(around, column) !== undefined) {
    return explained(`add column ${column.quoted} to the parent of ${around.table}`);
  }
  if (column.facts.sequence_of !== null) {
    return explained(`${withoutSequence(column)}, and add the column by hand`);
  }
  return { ...cleared(never, never), sql: () => addColumnSql(around, column) };
}

/** Sequences may have other names at the peer. */
function withoutSequence({ facts }: Column): string {
  return `its default is a number of the sequence of ${facts.sequence_of}: see how that is called at the peer`;
}

/** A change of columns, which a typed table does not take. */
function cleared(
  clears: (dependent: Dependent) => boolean,
  stopsAt: (outside: Outside) => boolean,
): Omit<Extract<Change, { kind: "statements" }>, "sql"> {
  return { kind: "statements", untypes: true, clears, stopsAt };
}

/** What takes away a column that only the peer has: one whose values are computed. */
export function dropColumn(around: Surroundings, column: Column): Change {
  const statement = `alter table ${around.table} drop column ${column.quoted};`;
  if (parentOf(around, column) !== undefined) {
    return nothing(withheld(statement, "it is inherited: drop it from the parent"));
  }
  return column.facts.generated === ""
    ? nothing(withheld(statement, lost))
    : {
        ...cleared(always, always),
        moves: "away",
        sql: (isThere) => (isThere ? statement : gone(column)),
      };
}

function gone({ quoted }: Column): string {
  return comment(`column ${quoted} has made room before`);
}

/** Values of a generated column are no loss where it stays one; those of any other are. */
function replaceColumn({ table }: Surroundings, local: Column, peer: Column): Change {
  const add = `add column ${columnClause(local)};`;
  const statement = `alter table ${table} drop column ${peer.quoted}, ${add}`;
  return peer.facts.generated === "" || local.facts.generated === ""
    ? nothing(withheld(statement, lost))
    : {
        ...cleared(always, always),
        moves: "last",
        sql: (isThere) =>
          script(
            isThere ? dropColumnNote(peer) : null,
            isThere ? statement : `alter table ${table} ${add}`,
            restOfColumn(table, local),
          ),
      };
}

/** A column that a partition or child has from its parent can only be changed there. */
function belongsToParent(around: Surroundings, local: Column, peer: Column): boolean {
  const to = local.facts;
  const from = peer.facts;
  return (
    parentOf(around, peer) !== undefined &&
    (isRetyped(to, from) ||
      to.generated !== from.generated ||
      (to.generated === "v" && to.expression !== from.expression) ||
      (from.not_null_inherited && becomesNullable(local, peer)))
  );
}

/** Whether all values can be given another type, whatever they are. */
function canCast({ facts: from }: Column, { facts: to }: Column): boolean {
  return (
    from.cast.from === to.cast.from ||
    from.cast.is_string ||
    to.cast.is_string ||
    from.cast.to.includes(to.cast.from)
  );
}

/** Why a column cannot be altered where it is, or null. */
function obstacle(around: Surroundings, local: Column, peer: Column): string | null {
  const to = local.facts;
  const from = peer.facts;
  const { table, peerVersion } = around;
  if (belongsToParent(around, local, peer)) {
    return `change column ${peer.quoted} of the parent of ${table}`;
  }
  if (peerVersion < 180000 && (to.not_null_not_valid || to.not_null_no_inherit)) {
    return "before PostgreSQL 18 NOT NULL can neither be NOT VALID nor NO INHERIT";
  }
  if (to.sequence_of !== null && (to.sequence_of !== from.sequence_of || to.base !== from.base)) {
    return withoutSequence(local);
  }
  if (to.identity !== "" && from.identity !== "" && becomesNullable(local, peer)) {
    return "an identity column needs a NOT NULL that is valid and inherited";
  }
  if (from.is_sequence_shared && (from.identity === "") !== (to.identity === "")) {
    return "its sequence would be dropped, and another column takes numbers from it: change that first";
  }
  if (to.base !== from.base && to.generated === "" && !canCast(peer, local)) {
    return `there is no cast from ${from.type} to ${to.type}`;
  }
  return null;
}

/** Families of types that a foreign key can have on its two sides. */
const families = [
  ["smallint", "integer", "bigint"],
  ["text", "character varying"],
];

function isCousin(one: string, other: string): boolean {
  return one === other || families.some((types) => types.includes(one) && types.includes(other));
}

/** What stands in the way of another type: definitions that were made for the old one. */
function clearsForType(local: Column, peer: Column): (dependent: Dependent) => boolean {
  const isOther =
    local.facts.base !== peer.facts.base || local.facts.collation !== peer.facts.collation;
  return ({ object, differs }) => {
    switch (object.type) {
      case "constraint":
        return differs || (isOther && object.facts.kind !== "p" && object.facts.kind !== "u");
      case "index":
        return differs || (isOther && !object.facts.is_plain);
      default:
        return true;
    }
  };
}

function clearsForNull({ object }: Dependent): boolean {
  return (
    object.type === "replica identity" ||
    (object.type === "constraint" && object.facts.kind === "p")
  );
}

/** What makes a column that both have like ours. */
export function alterColumn(around: Surroundings, local: Column, peer: Column): Change {
  const to = local.facts;
  const from = peer.facts;
  const why = obstacle(around, local, peer);
  if (why !== null) {
    return explained(why);
  }
  const otherExpression = to.generated !== "" && to.expression !== from.expression;
  const retype = isRetyped(to, from);
  if (
    (to.generated !== "" && to.generated !== from.generated) ||
    (from.generated === "v" && to.generated !== "v") ||
    // SET EXPRESSION came with 17; a virtual column's is refused where the table has a check, or is published
    (otherExpression && (around.peerVersion < 170000 || to.generated === "v" || retype)) ||
    // its expression need not fit another type
    (to.generated !== "" && to.base !== from.base)
  ) {
    return replaceColumn(around, local, peer);
  }
  const sql = alteration(around, local, peer);
  if (sql === "") {
    return explained("the sequence of its default belongs to another column, or to none");
  }
  // the values of a generated column are computed again
  const kept = to.generated === "" ? typeChange(from.cast, to.cast) : null;
  if (kept?.loss != null) {
    return nothing(
      sql.includes("\n") ? script(comment(kept.loss), comment(sql)) : withheld(sql, kept.loss),
    );
  }
  const clearsType = clearsForType(local, peer);
  const nullable = becomesNullable(local, peer);
  return {
    ...cleared(
      (dependent) =>
        (retype && clearsType(dependent)) ||
        (otherExpression && dependent.differs) ||
        (nullable && clearsForNull(dependent)),
      ({ kind }) =>
        (nullable && kind === "not null") ||
        (retype && (kind === "other" || (kind === "foreign key" && !isCousin(to.base, from.base)))),
    ),
    untypes: retype,
    sql: (isThere) =>
      isThere
        ? script(kept?.note == null ? null : comment(kept.note), sql)
        : addColumnSql(around, local),
  };
}
