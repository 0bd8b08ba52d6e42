import { quoteLiteral } from "../shared/sql-text.ts";
import type { Column } from "./schema-objects.ts";
import { comment, script } from "./statements.ts";

/*
 * A column as statements write it, and the sequence that it owns.
 */

/** A column as CREATE TABLE and ADD COLUMN take it; the latter without a default that cannot be evaluated. */
export function columnClause(column: Column, evaluates = false): string {
  const { type, collation, identity, generated, default_error } = column.facts;
  const expression = evaluates && default_error !== null ? null : column.facts.expression;
  return [
    `${column.quoted} ${type}`,
    collation === null ? "" : `collate ${collation}`,
    generated === ""
      ? defaultClause(expression)
      : `generated always as (${expression}) ${generated === "s" ? "stored" : "virtual"}`,
    identity === "" ? "" : identityClause(column),
    isPlainNotNull(column) ? "not null" : "",
  ]
    .filter((part) => part !== "")
    .join(" ");
}

/** DEFAULT, or nothing where there is none. */
export function defaultClause(expression: string | null): string {
  return expression === null ? "" : `default ${expression}`;
}

/** GENERATED … AS IDENTITY. */
export function identityClause({ facts }: Column): string {
  return `generated ${facts.identity === "a" ? "always" : "by default"} as identity`;
}

/** NOT NULL that a column's own clause can say. */
export function isPlainNotNull({ facts }: Column): boolean {
  return facts.not_null && !facts.not_null_not_valid && !facts.not_null_no_inherit;
}

/** NOT NULL that only a constraint of the table can say. */
export function addNotNull(table: string, { facts, quoted }: Column): string {
  const inherit = facts.not_null_no_inherit ? " no inherit" : "";
  const valid = facts.not_null_not_valid ? " not valid" : "";
  return `alter table ${table} add not null ${quoted}${inherit}${valid};`;
}

/** What a column's clause cannot say, once there is the column. */
export function restOfColumn(table: string, column: Column): string | null {
  return column.facts.not_null && !isPlainNotNull(column) ? addNotNull(table, column) : null;
}

/** A serial column's sequence is made before the column, which then becomes its owner. */
export function createSequence({ facts }: Column): string | null {
  return facts.sequence === null
    ? null
    : `create sequence ${facts.sequence} as ${facts.sequence_type};`;
}

/** A table that columns are made in. */
export interface Place {
  readonly table: string;
  /** who owns it, if that is not the one who makes them */
  readonly owner: string | null;
}

/** The sequence of a serial column goes with it, and must have its table's owner. */
export function ownSequence({ table, owner }: Place, { facts, quoted }: Column): string | null {
  const { sequence } = facts;
  return sequence === null
    ? null
    : script(
        owner === null ? null : `alter sequence ${sequence} owner to ${owner};`,
        `alter sequence ${sequence} owned by ${table}.${quoted};`,
      );
}

/** Rights on a column that is made anew are to be granted again. */
export function dropColumnNote({ facts, quoted }: Column): string | null {
  return facts.has_rights
    ? comment(`rights on column ${quoted} go with it: grant them again`)
    : null;
}

const numbers: readonly string[] = [
  "smallint",
  "integer",
  "bigint",
  "numeric",
  "real",
  "double precision",
];

/** The next number must be none that rows have; of values that are no numbers, which a default may be cast to, it is not known. */
export function startSequence(table: string, column: Column): string {
  const sequence =
    column.facts.sequence === null
      ? `pg_catalog.pg_get_serial_sequence(${quoteLiteral(table)}, ${quoteLiteral(column.name)})`
      : quoteLiteral(column.facts.sequence);
  if (!numbers.includes(column.facts.cast.from)) {
    return comment(
      `values of ${column.quoted} are no numbers: have its sequence start behind those that rows have`,
    );
  }
  return `select pg_catalog.setval(${sequence}, (coalesce(max(${column.quoted}), 0) + 1)::bigint, false) from ${table};`;
}

/** Ours, but with the sequence that the peer's column owns already, where it is only not the default. */
export function withSequenceOf(local: Column, peer: Column): Column {
  const { owned_sequence } = peer.facts;
  if (local.facts.sequence === null || owned_sequence === null) {
    return local;
  }
  const expression = `nextval(${quoteLiteral(owned_sequence)}::regclass)`;
  return { ...local, facts: { ...local.facts, expression, sequence: owned_sequence } };
}
