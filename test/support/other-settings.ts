/*
 * Settings that a role or a database at a peer may have set and that we leave as they are, with the reason. What is neither
 * here nor set in our own way fails test/integration/nodes/peer-settings.test.ts, as what a new version of PostgreSQL brings.
 */

type Reasons = { readonly [name: string]: string };

const speed = "how fast a query is, and not what it answers";
const log = "what is written to the log of the peer";
const authentication = "what has been decided before we can say anything, or about new passwords";
const ddl = "what CREATE and ALTER do, and we run none at the peer";
const vacuum = "what VACUUM does";
const walSenders = "what connections of replication do";
const format = "texts of functions that are not called on values, such as to_char()";

/** Whole categories of pg_settings. */
export const categories: Reasons = {
  "Connections and Authentication / Authentication": authentication,
  "Query Tuning / Genetic Query Optimizer": speed,
  "Query Tuning / Planner Cost Constants": speed,
  "Query Tuning / Planner Method Configuration": speed,
  "Reporting and Logging / Process Title": log,
  "Reporting and Logging / When to Log": log,
  "Resource Usage / I/O": speed,
  "Resource Usage / Worker Processes": speed,
  "Statistics / Cumulative Query and Index Statistics": "what is counted",
  "Statistics / Monitoring": log,
  "Vacuuming / Cost-Based Vacuum Delay": vacuum,
  "Vacuuming / Default Behavior": vacuum,
  "Vacuuming / Freezing": vacuum,
};

/** Single settings. */
export const settings: Reasons = {
  // Client Connection Defaults / Locale and Formatting
  client_encoding: "given with the connection, which goes before what a role or a database has set",
  default_text_search_config: "a text search of an index names its configuration",
  icu_validation_level: ddl,
  lc_messages: "errors are told apart by their SQLSTATE",
  lc_numeric: format,
  lc_time: format,
  timezone_abbreviations: "times are written and read with numbers for their zone",
  // Client Connection Defaults / Other Defaults, Shared Library Preloading
  dynamic_library_path: "where the peer's superuser has his libraries",
  extension_control_path: ddl,
  local_preload_libraries: "what the peer's sessions begin with, before we can say anything",
  session_preload_libraries: "what the peer's sessions begin with, before we can say anything",
  // Client Connection Defaults / Statement Behavior
  check_function_bodies: ddl,
  client_min_messages: "notices are not read",
  createrole_self_grant: ddl,
  default_table_access_method: ddl,
  default_tablespace: ddl,
  default_toast_compression: "how values are stored, which digests do not look at",
  default_transaction_read_only:
    "a peer that is to be read only stays so: a merge says that it cannot write",
  event_triggers: ddl,
  gin_pending_list_limit: speed,
  session_replication_role:
    "merges set it where they may, and refuse what is set where they may not; for reading it says nothing",
  temp_tablespaces: "where a superuser wants temporary files",
  transaction_deferrable: "of one transaction",
  transaction_isolation: "of one transaction",
  transaction_read_only: "of one transaction",
  // Developer Options
  allow_in_place_tablespaces: ddl,
  allow_system_table_mods: ddl,
  backtrace_functions: log,
  debug_discard_caches: speed,
  debug_logical_replication_streaming: walSenders,
  ignore_checksum_failure: "a superuser wants to read what is damaged",
  jit_dump_bitcode: "jit is off",
  jit_expressions: "jit is off",
  jit_tuple_deforming: "jit is off",
  trace_notify: log,
  trace_sort: log,
  wal_consistency_checking: "checks of the peer's own standby",
  zero_damaged_pages: "a superuser wants to read what is damaged",
  // Lock Management
  deadlock_timeout: "when a deadlock is looked for",
  // Query Tuning / Other Planner Options
  constraint_exclusion: speed,
  default_statistics_target: speed,
  from_collapse_limit: speed,
  join_collapse_limit: speed,
  recursive_worktable_factor: speed,
  // Replication / Sending Servers
  output_plugin_libraries: walSenders,
  wal_sender_timeout: walSenders,
  // Reporting and Logging / What to Log
  debug_pretty_print: log,
  debug_print_parse: log,
  debug_print_plan: log,
  debug_print_rewritten: log,
  log_duration: log,
  log_error_verbosity: log,
  log_lock_failures: log,
  log_lock_waits: log,
  log_parameter_max_length: log,
  log_parameter_max_length_on_error: log,
  log_replication_commands: log,
  log_statement: log,
  log_temp_files: log,
  // Resource Usage / Disk
  file_copy_method: ddl,
  temp_file_limit: "how much disk a superuser lets a session take, whose error says so",
  // Resource Usage / Memory
  hash_mem_multiplier: speed,
  logical_decoding_work_mem: walSenders,
  maintenance_work_mem: speed,
  max_stack_depth: "how much a superuser lets a session take, whose error says so",
  temp_buffers: "there are no temporary tables of ours at the peer",
  vacuum_buffer_usage_limit: vacuum,
  // Version and Platform Compatibility
  lo_compat_privileges: "there is nothing with large objects",
  synchronize_seqscans: "the order of rows, by which nothing goes",
  // Write-Ahead Log / Settings
  commit_delay: speed,
  commit_siblings: speed,
  synchronous_commit: "what a peer that crashes may lose: only writing has to do with it",
  wal_compression: speed,
  wal_init_zero: speed,
  wal_recycle: speed,
  wal_skip_threshold: speed,
};

/** Single settings that not every version of PostgreSQL has. */
export const ofSomeVersions: Reasons = {
  // until 18
  escape_string_warning: "a warning, which is not read",
  // from 19 on
  debug_print_raw_parse: log,
  timing_clock_source: speed,
  wal_receiver_timeout: walSenders,
  wal_sender_shutdown_timeout: walSenders,
};

/** What is set at the peer and not in a worker here. */
export const ofPeersOnly: Reasons = {
  application_name: "a worker has a name of its own",
  client_connection_check_interval: "a worker has no client",
  tcp_keepalives_count: "a worker has no client",
  tcp_keepalives_idle: "a worker has no client",
  tcp_keepalives_interval: "a worker has no client",
  tcp_user_timeout: "a worker has no client",
};
