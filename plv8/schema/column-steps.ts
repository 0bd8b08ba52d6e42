import {
  addNotNull,
  createSequence,
  defaultClause,
  identityClause,
  isPlainNotNull,
  ownSequence,
  type Place,
  startSequence,
  withSequenceOf,
} from "./column-clause.ts";
import type { Column } from "./schema-objects.ts";
import { script } from "./statements.ts";

/*
 * How a column is altered, where that can be done.
 */

/** Whether a column gets another type or collation. */
export const isRetyped = (to: Column["facts"], from: Column["facts"]) =>
  to.type !== from.type || to.collation !== from.collation;

/** Whether a column, or that of a child, may be NULL afterwards where it may not before. */
export const becomesNullable = (local: Column, peer: Column) =>
  peer.facts.not_null &&
  (!local.facts.not_null ||
    (local.facts.not_null_not_valid && !peer.facts.not_null_not_valid) ||
    (local.facts.not_null_no_inherit && !peer.facts.not_null_no_inherit));

/** Whether the old NOT NULL goes, because a new one of the kind wanted can only be made. */
const dropsNotNull = ({ facts: to }: Column, { facts: from }: Column) =>
  from.not_null && (!to.not_null || (to.not_null_not_valid && !from.not_null_not_valid));

/** What one ALTER TABLE does: it drops first, then changes types, then adds. */
function steps(local: Column, peer: Column): readonly string[] {
  const to = local.facts;
  const from = peer.facts;
  const retype = isRetyped(to, from);
  // a default does not always follow its column to another type
  const redefault =
    to.generated === "" &&
    from.generated === "" &&
    (to.base !== from.base ||
      (to.expression !== from.expression && to.sequence_of === null) ||
      (to.sequence === null) !== (from.sequence === null)) &&
    !(to.sequence !== null && from.sequence !== null && to.base === from.base);
  const column = `alter column ${local.quoted}`;
  // to what a domain is over, without its modifier: an explicit cast would cut values off, and this raises an error
  const cast =
    to.cast.from !== from.cast.from && to.generated === ""
      ? ` using ${local.quoted}::${to.cast.from}`
      : "";
  const collate = to.collation === null ? "" : ` collate ${to.collation}`;
  const all: readonly (readonly [boolean, string])[] = [
    [redefault && from.expression !== null, "drop default"],
    [dropsNotNull(local, peer), "drop not null"],
    [retype, `type ${to.type}${collate}${cast}`],
    [
      to.generated !== "" && to.expression !== from.expression,
      `set expression as (${to.expression})`,
    ],
    [!from.not_null && isPlainNotNull(local), "set not null"],
    [
      to.generated === "" && to.expression !== null && (redefault || from.generated !== ""),
      `set ${defaultClause(to.expression)}`,
    ],
    [
      from.identity === "" && to.identity !== "" && !becomesIdentityLast(local, peer),
      `add ${identityClause(local)}`,
    ],
    [
      from.identity !== "" && to.identity !== "" && from.identity !== to.identity,
      `set generated ${to.identity === "a" ? "always" : "by default"}`,
    ],
  ];
  return all.filter(([wanted]) => wanted).map(([, step]) => `${column} ${step}`);
}

/** NOT NULL that is a constraint with more to it, once the column is like ours. */
function notNull(table: string, local: Column, peer: Column): string | null {
  const to = local.facts;
  const from = peer.facts;
  if (!to.not_null || (!from.not_null && isPlainNotNull(local))) {
    return null;
  }
  if (!from.not_null || dropsNotNull(local, peer)) {
    return addNotNull(table, local);
  }
  const inherit = to.not_null_no_inherit ? "no inherit" : "inherit";
  return script(
    to.not_null_no_inherit === from.not_null_no_inherit
      ? null
      : `alter table ${table} alter constraint ${from.not_null_name} ${inherit};`,
    to.not_null_not_valid === from.not_null_not_valid
      ? null
      : `alter table ${table} validate constraint ${from.not_null_name};`,
  );
}

/** An identity needs a NOT NULL that is valid and inherited: what makes it so goes before. */
function becomesIdentityLast(local: Column, peer: Column): boolean {
  return (
    local.facts.identity !== "" && peer.facts.identity === "" && notNull("", local, peer) !== null
  );
}

/** Else two sequences would belong to a column that becomes an identity. */
function dropSequence(table: string, { facts, quoted }: Column): string | null {
  return facts.owned_sequence === null
    ? null
    : `alter table ${table} alter column ${quoted} drop default;\ndrop sequence ${facts.owned_sequence};`;
}

/** All statements that alter a column where it is. */
export function alteration(place: Place, local: Column, peer: Column): string {
  const { table } = place;
  const to = local.facts;
  const from = peer.facts;
  const wanted = withSequenceOf(local, peer);
  const newSequence = to.sequence !== null && from.sequence === null;
  const newIdentity = to.identity !== "" && from.identity === "";
  const makeSequence = newSequence && from.owned_sequence === null;
  const growSequence =
    to.sequence !== null && !makeSequence && to.sequence_type !== from.sequence_type;
  const all = steps(wanted, peer);
  return script(
    // its sequence would take part in a change of type, and has the name that a new one may get
    from.identity !== "" && to.identity === ""
      ? `alter table ${table} alter column ${peer.quoted} drop identity;`
      : null,
    // no value is cast while it is computed
    from.generated !== "" && to.generated === ""
      ? `alter table ${table} alter column ${peer.quoted} drop expression;`
      : null,
    newIdentity ? dropSequence(table, peer) : null,
    makeSequence ? createSequence(wanted) : null,
    all.length === 0 ? null : `alter table ${table} ${all.join(", ")};`,
    notNull(table, local, peer),
    becomesIdentityLast(local, peer)
      ? `alter table ${table} alter column ${local.quoted} add ${identityClause(local)};`
      : null,
    makeSequence ? ownSequence(place, wanted) : null,
    growSequence ? `alter sequence ${wanted.facts.sequence} as ${to.sequence_type};` : null,
    newSequence || newIdentity ? startSequence(table, wanted) : null,
  );
}
