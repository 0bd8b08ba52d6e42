import type { Column } from "./schema-objects.ts";
import { comment, script, withheld } from "./statements.ts";

/** A column as CREATE TABLE and ADD COLUMN take it. */
export function columnClause(column: Column): string {
  const { type, collation, not_null, identity, generated, expression } = column.facts;
  return [
    `${column.quoted} ${type}`,
    collation === null ? "" : `collate ${collation}`,
    generated === ""
      ? defaultClause(expression)
      : `generated always as (${expression}) ${generated === "s" ? "stored" : "virtual"}`,
    identity === "" ? "" : identityClause(column),
    not_null ? "not null" : "",
  ]
    .filter((part) => part !== "")
    .join(" ");
}

function defaultClause(expression: string | null): string {
  return expression === null ? "" : `default ${expression}`;
}

function identityClause({ facts }: Column): string {
  return `generated ${facts.identity === "a" ? "always" : "by default"} as identity`;
}

/** A serial column's sequence is made before the column, which then becomes its owner. */
export function createSequence({ facts }: Column): string | null {
  return facts.sequence === null
    ? null
    : `create sequence ${facts.sequence} as ${facts.sequence_type};`;
}

export function ownSequence(table: string, { facts, quoted }: Column): string | null {
  return facts.sequence === null
    ? null
    : `alter sequence ${facts.sequence} owned by ${table}.${quoted};`;
}

function literal(text: string): string {
  return `'${text.replace(/'/g, "''")}'`;
}

/** The next number must be none that rows have. */
function startSequence(table: string, column: Column): string {
  const sequence =
    column.facts.sequence === null
      ? `pg_catalog.pg_get_serial_sequence(${literal(table)}, ${literal(column.name)})`
      : literal(column.facts.sequence);
  return `select pg_catalog.setval(${sequence}, coalesce(max(${column.quoted}), 0) + 1, false) from ${table};`;
}

export function addColumn(table: string, column: Column): string {
  const { not_null, expression, identity, inherited, sequence } = column.facts;
  if (inherited) {
    return comment(`add column ${column.quoted} to the parent of ${table}`);
  }
  return script(
    not_null && expression === null && identity === ""
      ? comment(
          "fails where the table has rows: then add it without not null, fill it, set not null",
        )
      : null,
    createSequence(column),
    `alter table ${table} add column ${columnClause(column)};`,
    ownSequence(table, column),
    sequence === null ? null : startSequence(table, column),
  );
}

export function dropColumn(table: string, column: Column): string {
  const statement = `alter table ${table} drop column ${column.quoted};`;
  if (column.facts.inherited) {
    return withheld(statement, "it is inherited: drop it from the parent");
  }
  return column.facts.generated === ""
    ? withheld(statement, "the values in it would be lost")
    : statement;
}

/** Values of a generated column are no loss; those of any other are. */
function replaceColumn(table: string, local: Column, peer: Column): string {
  const statement = `alter table ${table} drop column ${peer.quoted}, add column ${columnClause(local)};`;
  return peer.facts.generated === ""
    ? withheld(statement, "the values in it would be lost")
    : statement;
}

/** What one ALTER TABLE does: it drops first, then changes types, then adds. */
function changes(local: Column, peer: Column): readonly string[] {
  const to = local.facts;
  const from = peer.facts;
  const retype = to.type !== from.type || to.collation !== from.collation;
  const redefault =
    to.generated === "" &&
    from.generated === "" &&
    (to.expression !== from.expression || (to.sequence === null) !== (from.sequence === null)) &&
    !(to.sequence !== null && from.sequence !== null);
  const column = `alter column ${local.quoted}`;
  const cast =
    to.base !== from.base && to.generated === "" && from.generated === ""
      ? ` using ${local.quoted}::${to.base}`
      : "";
  const collate = to.collation === null ? "" : ` collate ${to.collation}`;
  const steps: readonly (readonly [boolean, string])[] = [
    [from.identity !== "" && to.identity === "" && to.type === from.type, "drop identity"],
    [from.generated === "s" && to.generated === "", "drop expression"],
    [redefault && from.expression !== null, "drop default"],
    [from.not_null && !to.not_null, "drop not null"],
    [retype, `type ${to.type}${collate}${cast}`],
    [
      to.generated !== "" && to.expression !== from.expression,
      `set expression as (${to.expression})`,
    ],
    [!from.not_null && to.not_null, "set not null"],
    [
      to.generated === "" && to.expression !== null && (redefault || from.generated !== ""),
      `set ${defaultClause(to.expression)}`,
    ],
    [from.identity === "" && to.identity !== "", `add ${identityClause(local)}`],
    [
      from.identity !== "" && to.identity !== "" && from.identity !== to.identity,
      `set generated ${to.identity === "a" ? "always" : "by default"}`,
    ],
  ];
  return steps.filter(([wanted]) => wanted).map(([, step]) => `${column} ${step}`);
}

/** A column that a partition or child has from its parent can only be changed there. */
function belongsToParent(local: Column, peer: Column): boolean {
  const to = local.facts;
  const from = peer.facts;
  return (
    from.inherited &&
    (to.type !== from.type ||
      to.collation !== from.collation ||
      to.generated !== from.generated ||
      (from.not_null && !to.not_null && from.parent_not_null))
  );
}

export function alterColumn(
  table: string,
  local: Column,
  peer: Column,
  peerVersion: number,
): string {
  const to = local.facts;
  const from = peer.facts;
  if (belongsToParent(local, peer)) {
    return comment(`change column ${peer.quoted} of the parent of ${table}`);
  }
  const becomesGenerated = to.generated !== "" && to.generated !== from.generated;
  const wasVirtual = from.generated === "v" && to.generated !== "v";
  // SET EXPRESSION came with 17
  const cannotSet =
    to.generated !== "" && to.expression !== from.expression && peerVersion < 170000;
  if (becomesGenerated || wasVirtual || cannotSet) {
    return replaceColumn(table, local, peer);
  }
  const wanted = withSequenceOf(local, peer);
  const steps = changes(wanted, peer);
  if (steps.length === 0) {
    return comment("the sequence of its default belongs to another column, or to none");
  }
  const newSequence = to.sequence !== null && from.sequence === null;
  const newIdentity = to.identity !== "" && from.identity === "";
  const makeSequence = newSequence && from.owned_sequence === null;
  // its sequence would take part in the change of type
  const dropsIdentity = from.identity !== "" && to.identity === "" && to.type !== from.type;
  return script(
    dropsIdentity ? `alter table ${table} alter column ${peer.quoted} drop identity;` : null,
    newIdentity ? dropSequence(table, peer) : null,
    makeSequence ? createSequence(wanted) : null,
    `alter table ${table} ${steps.join(", ")};`,
    makeSequence ? ownSequence(table, wanted) : null,
    newSequence || newIdentity ? startSequence(table, wanted) : null,
  );
}

/** Ours, but with the sequence that the peer's column owns already, where it is only not the default. */
function withSequenceOf(local: Column, peer: Column): Column {
  const { owned_sequence } = peer.facts;
  if (local.facts.sequence === null || owned_sequence === null) {
    return local;
  }
  const expression = `nextval(${literal(owned_sequence)}::regclass)`;
  return { ...local, facts: { ...local.facts, expression, sequence: owned_sequence } };
}

/** Else two sequences would belong to a column that becomes an identity. */
function dropSequence(table: string, { facts, quoted }: Column): string | null {
  return facts.owned_sequence === null
    ? null
    : `alter table ${table} alter column ${quoted} drop default;\ndrop sequence ${facts.owned_sequence};`;
}

/** Whether the change must wait until a primary key that needs NOT NULL is gone. */
export function losesNotNull(local: Column, peer: Column): boolean {
  return peer.facts.not_null && !local.facts.not_null;
}
