import { keySettings, type Settings, setLocalKeys } from "../shared/key-settings.ts";

/** How values are written and read: both sides of a comparison have to do it alike. */
export const valueSettings: Settings = [
  ["timezone", "UTC"],
  ["datestyle", "ISO, YMD"],
  ["intervalstyle", "postgres"],
  ["extra_float_digits", "1"],
  ["bytea_output", "hex"],
  ["lc_monetary", "C"],
  ["quote_all_identifiers", "off"],
  ["standard_conforming_strings", "on"],
  ["xmloption", "content"],
  ["xmlbinary", "base64"],
  ["array_nulls", "on"],
  ["transform_null_equals", "off"],
  ["backslash_quote", "safe_encoding"],
];

/**
 * How many rows are read. Sorting is off so that rows are grouped in a hash table: the planner thinks of a
 * bucket for each row. Plans are made for the arrays at hand: a generic one thinks that they are short, and
 * joins two of 5,000 in a nested loop.
 */
export const scanSettings: Settings = [
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
  // else an index finds some of the rows only
  ["gin_fuzzy_search_limit", "0"],
  // no view or foreign table may have taken a table's place, or be a partition of it
  ["restrict_nonsystem_relation_kind", "view, foreign-table"],
];

/** For functions that only read users' tables: see bgworker-c/session/trusted_code.c. */
const readingSettings: Settings = [["steep_repl.trusted_code_only", "on"]];

/**
 * What else would end a session at the peer, or make it behave in another way, if a role or a database had set it: a worker here
 * has the like in bgworker-c/jobs/worker.c. In the order in which they are set. Those of `_peer_first_settings` come before.
 * Without sorting, every plan is so dear before PostgreSQL 18 that it would be compiled, hence no JIT.
 */
export const peerSettings: Settings = [
  ["row_security", "off"],
  ["application_name", "steep_repl peer"],
  ["default_transaction_isolation", "read committed"],
  ["default_transaction_deferrable", "off"],
  ["debug_parallel_query", "off"],
  ["client_connection_check_interval", "1000"],
  ["tcp_keepalives_idle", "15"],
  ["tcp_keepalives_interval", "5"],
  ["tcp_keepalives_count", "3"],
  ["tcp_user_timeout", "30000"],
];

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
  "@ROWS_OF_PEER_SETTINGS@": rows(peerSettings),
};
