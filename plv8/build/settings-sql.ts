import { keySettings, type Settings, setLocalKeys } from "../shared/key-settings.ts";

/** How values are written: both sides of a comparison have to write them alike. */
const valueSettings: Settings = [
  ["timezone", "UTC"],
  ["datestyle", "ISO, YMD"],
  ["intervalstyle", "postgres"],
  ["extra_float_digits", "1"],
  ["bytea_output", "hex"],
  ["lc_monetary", "C"],
  ["quote_all_identifiers", "off"],
  ["standard_conforming_strings", "on"],
  ["xmloption", "content"],
];

/**
 * How many rows are read. Sorting is off so that rows are grouped in a hash table: the planner thinks of a
 * bucket for each row. Plans are made for the arrays at hand: a generic one thinks that they are short, and
 * joins two of 5,000 in a nested loop.
 */
const scanSettings: Settings = [
  ["cursor_tuple_fraction", "1"],
  ["work_mem", "32MB"],
  ["jit", "off"],
  ["enable_sort", "off"],
  // what else a database or a role may have switched off
  ["enable_indexscan", "on"],
  ["enable_bitmapscan", "on"],
  ["enable_nestloop", "on"],
  ["enable_hashjoin", "on"],
  ["plan_cache_mode", "force_custom_plan"],
  // no view or foreign table may have taken a table's place, or be a partition of it
  ["restrict_nonsystem_relation_kind", "view, foreign-table"],
];

/** For functions that only read users' tables: see bgworker-c/session/trusted_code.c. */
const readingSettings: Settings = [["steep_repl.trusted_code_only", "on"]];

const clauses = (settings: Settings) =>
  settings.map(([name, value]) => `set ${name} = '${value}'`).join(" ");
const rows = (settings: Settings) =>
  settings.map(([name, value]) => `('${name}', '${value}')`).join(", ");

/** What stands in the SQL files for settings: clauses of a function, or rows of a VALUES list. */
export const settingsSql: { readonly [placeholder: string]: string } = {
  "@SET_VALUES@": clauses(valueSettings),
  "@SET_SCAN@": clauses(scanSettings),
  "@SET_KEYS@": clauses(keySettings),
  "@SET_LOCAL_KEYS@": setLocalKeys,
  "@SET_READING@": clauses(readingSettings),
  "@ROWS_OF_SETTINGS@": rows([...valueSettings, ...scanSettings]),
};
