import type { MergeFacts, UniqueFacts, WriteFacts } from "../../plv8/merge/merge-facts.ts";
import type { ColumnFacts, TableFacts } from "../../plv8/overlap/overlap-facts.ts";

/* Facts as the catalogs would answer them, of small tables. */

const bases: Readonly<Record<string, string>> = { integer: "int4", boolean: "bool" };

export function column(name: string, type: string, more: Partial<ColumnFacts> = {}): ColumnFacts {
  return {
    name,
    type,
    base_type: type,
    is_builtin: !type.includes("."),
    generated: false,
    kind: "scalar",
    base: bases[type] ?? type,
    has_array: false,
    has_row: false,
    has_signs: false,
    has_spellings: false,
    textual: type === "text",
    readable: true,
    ...more,
  };
}

export function table(columns: readonly ColumnFacts[], more: Partial<TableFacts> = {}): TableFacts {
  return {
    kind: "r",
    encoding: "UTF8",
    functions: null,
    bytes: 8192,
    rows: 10,
    columns,
    keys: [{ primary: true, immediate: true, columns: ["id"] }],
    ...more,
  };
}

export const unique = (more: Partial<UniqueFacts> = {}): UniqueFacts => ({
  name: "t_v_key",
  columns: ["v"],
  expressions: ["v"],
  types: ["text"],
  readings: ["value"],
  operators: ["operator(pg_catalog.=)"],
  excludes: false,
  part: null,
  part_kind: null,
  bound: null,
  is_exact: true,
  is_harmless: true,
  predicate: null,
  nulls_not_distinct: false,
  deferrable: false,
  of_generated: false,
  ...more,
});
export const ofKey = unique({
  name: "t_pkey",
  columns: ["id"],
  expressions: ["id"],
  types: ["integer"],
});
export const writes = (more: Partial<WriteFacts> = {}): WriteFacts => ({
  identity: [],
  unique: [ofKey],
  places: { partitions: null, values: [], tests_values: true },
  missing_rights: [],
  row_security: false,
  ...more,
});

export const id = column("id", "integer");
export const v = column("v", "text");

/** A table to merge; what is not said of the peer's indexes is as here. */
export function mergeFacts(
  columns: readonly ColumnFacts[] = [id, v],
  { table: of, ...more }: Partial<Omit<MergeFacts, "table">> & { table?: Partial<TableFacts> } = {},
): MergeFacts {
  return {
    table: "public.t",
    local: table(columns, of),
    peer: table(columns, of),
    key: null,
    local_writes: writes(),
    peer_writes: more.local_writes ?? writes(),
    options: { actions: { conflict: "update_remote" }, last_modified_column: null },
    ...more,
  };
}
