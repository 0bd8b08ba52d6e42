import { SteepError } from "../db/steep-error.ts";
import type { PeerWriteFacts } from "../merge/merge-facts.ts";
import type { ColumnFacts, KeyFacts, TableFacts } from "../overlap/overlap-facts.ts";

/*
 * What a peer says is an answer of somebody else's server, whose superuser may have it say anything. Plans are
 * made of this side's facts; of the peer's they take what is read here: numbers, booleans, and texts
 * that are compared with this side's and shown, but never stand in a statement.
 */

interface Value {
  readonly of: string;
  readonly value: unknown;
}

function refuse({ of }: Value, expected: string): never {
  throw new SteepError({
    sqlstate: "08P01",
    message: "peer: what it says of a table is not understood",
    detail: `${of} is no ${expected}.`,
    hint: "No PostgreSQL answers there, or its catalogs have been changed.",
  });
}

function member(object: Value, name: string): Value {
  const { value } = object;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return refuse(object, "object");
  }
  return {
    of: `${object.of}, ${name}`,
    value: (value as { readonly [name: string]: unknown })[name],
  };
}

function text(from: Value): string {
  return typeof from.value === "string" ? from.value : refuse(from, "text");
}

function flag(from: Value): boolean {
  return typeof from.value === "boolean" ? from.value : refuse(from, "boolean");
}

function amount(from: Value): number {
  const { value } = from;
  return typeof value === "number" && Number.isFinite(value) && value >= 0
    ? value
    : refuse(from, "amount");
}

function list<T>(from: Value, read: (item: Value) => T): readonly T[] {
  return Array.isArray(from.value)
    ? from.value.map((value: unknown) => read({ of: from.of, value }))
    : refuse(from, "list");
}

function kindOf(from: Value): ColumnFacts["kind"] {
  const value = text(from);
  return value === "scalar" || value === "container" || value === "other"
    ? value
    : refuse(from, "kind of column");
}

function column(from: Value): ColumnFacts {
  const of = (name: string) => member(from, name);
  return {
    name: text(of("name")),
    type: text(of("type")),
    base_type: text(of("base_type")),
    is_builtin: flag(of("is_builtin")),
    generated: flag(of("generated")),
    kind: kindOf(of("kind")),
    base: text(of("base")),
    has_array: flag(of("has_array")),
    has_row: flag(of("has_row")),
    has_signs: flag(of("has_signs")),
    has_spellings: flag(of("has_spellings")),
    textual: flag(of("textual")),
    readable: flag(of("readable")),
  };
}

function key(from: Value): KeyFacts {
  return {
    primary: flag(member(from, "primary")),
    immediate: flag(member(from, "immediate")),
    columns: list(member(from, "columns"), text),
  };
}

/**
 * A table as a peer describes it; null where it has none.
 *
 * @throws SteepError where that is no description
 */
export function readPeerTable(table: string, value: unknown): TableFacts | null {
  if (value === null || value === undefined) {
    return null;
  }
  const of = (name: string) => member({ of: table, value }, name);
  return {
    kind: text(of("kind")),
    encoding: text(of("encoding")),
    functions: of("functions").value === null ? null : text(of("functions")),
    bytes: amount(of("bytes")),
    rows: amount(of("rows")),
    columns: list(of("columns"), column),
    keys: list(of("keys"), key),
  };
}

/** The same of what writing to it needs to know; definitions of indexes are not read. */
export function readPeerWrites(table: string, value: unknown): PeerWriteFacts {
  const facts = { of: table, value };
  return {
    identity: list(member(facts, "identity"), text),
    unique: list(member(facts, "unique"), (index) => ({
      name: text(member(index, "name")),
      is_harmless: flag(member(index, "is_harmless")),
    })),
  };
}
