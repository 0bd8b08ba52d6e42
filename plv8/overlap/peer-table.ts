import { amount, flag, list, member, type PeerValue, refuse, text } from "../shared/peer-value.ts";
import type { ColumnFacts, KeyFacts, TableFacts } from "./overlap-facts.ts";

function kindOf(from: PeerValue): ColumnFacts["kind"] {
  const value = text(from);
  return value === "scalar" || value === "container" || value === "other"
    ? value
    : refuse(from, "kind of column");
}

function column(from: PeerValue): ColumnFacts {
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

function key(from: PeerValue): KeyFacts {
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
