-- Functions of the C library. Public functions run with the caller's rights
-- and call these, so everybody may execute them and each checks for itself.

create function steep_repl._library_version() returns text
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_library_version';
comment on function steep_repl._library_version() is 'private: version that the loaded C library was built as';

create function steep_repl._system_identifier() returns text
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_system_identifier';
comment on function steep_repl._system_identifier() is 'private: system identifier of this cluster, as text';

create function steep_repl._is_here(system_identifier text, database_oid oid) returns boolean
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_is_here';
comment on function steep_repl._is_here(text, oid) is 'private: whether a row belongs to this cluster and this database';

create function steep_repl._preloaded() returns boolean
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_preloaded';
comment on function steep_repl._preloaded() is 'private: whether shared_preload_libraries names steep_repl';

create function steep_repl._launcher_is_alive() returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_launcher_is_alive';
comment on function steep_repl._launcher_is_alive() is 'private: whether the launcher runs, by its entry in shared memory';

create function steep_repl._enter_engine() returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_enter_engine';
comment on function steep_repl._enter_engine() is 'private: has the JavaScript engine loaded and the session interruptible, until the current subtransaction ends';

create function steep_repl._raise_interruption() returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_raise_interruption';
comment on function steep_repl._raise_interruption() is 'private: raises what has interrupted JavaScript, if anything has';

create function steep_repl._json_to_js(value text) returns text
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_json_to_js';
comment on function steep_repl._json_to_js(text) is 'private: the same JSON in ASCII, which both JavaScript engines read in any database';

create function steep_repl._json_from_js(value text) returns text
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_json_from_js';
comment on function steep_repl._json_from_js(text) is 'private: JSON in ASCII as jsonb can take it in this database';

create function steep_repl._random_id() returns bigint
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_random_id';
comment on function steep_repl._random_id() is 'private: a random positive 63-bit number';

create function steep_repl._is_replicated_change(target oid) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_is_replicated_change';
comment on function steep_repl._is_replicated_change(oid) is 'private: in a trigger of a table of ours, whether a logical replication worker itself makes the change';

create function steep_repl._enqueued() returns trigger
language c volatile parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_enqueued';
comment on function steep_repl._enqueued() is 'private: makes the rows that belong to a new job and wakes the launcher at commit';

create function steep_repl._dequeued() returns trigger
language c volatile parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_dequeued';
comment on function steep_repl._dequeued() is 'private: ends the rows that belong to a job which was cancelled before it began';

create function steep_repl._was_queued_here(id bigint) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_was_queued_here';
comment on function steep_repl._was_queued_here(bigint) is 'private: whether the current transaction queued this job';

create function steep_repl._queued_for() returns oid
language c volatile parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_queued_for';
comment on function steep_repl._queued_for() is 'private: the role that a job is being queued for, where that is not the current user';

create function steep_repl._queue_undo(merge_id text, peer text) returns bigint
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_queue_undo';
comment on function steep_repl._queue_undo(text, text) is 'private: queues the undo of a merge as a job of the role that merged, whose member the caller must be';

create function steep_repl._keep_peer(id bigint, conninfo text) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_keep_peer';
comment on function steep_repl._keep_peer(bigint, text) is 'private: keeps a connection string in shared memory for a job that this transaction queued';

create function steep_repl._check_output_path(path text) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_check_output_path';
comment on function steep_repl._check_output_path(text) is 'private: the normalized path, or an error that says why the caller may not write there';

create function steep_repl._check_input_path(path text) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_check_input_path';
comment on function steep_repl._check_input_path(text) is 'private: the normalized path, or an error that says why the caller may not read a snapshot there';

create function steep_repl._missing_tables(path text, tables text[]) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_missing_tables';
comment on function steep_repl._missing_tables(text, text[]) is 'private: of some tables, those that a snapshot does not have; NULL if it has all';

create function steep_repl._level_range(compression text, out min_level int, out max_level int, out default_level int)
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_level_range';
comment on function steep_repl._level_range(text) is 'private: the levels that a compression method accepts, NULLs for an unknown method';

create function steep_repl._lock_table_size() returns bigint
language c stable strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_lock_table_size';
comment on function steep_repl._lock_table_size() is 'private: how many objects the shared lock table holds';

create function steep_repl._live_jobs(
  out id bigint, out phase text, out overall_percent float8, out current_table text,
  out tables_completed int, out tables_total int, out bytes_processed bigint,
  out eta_seconds bigint, out worker_pid int)
returns setof record
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_live_jobs';
comment on function steep_repl._live_jobs() is 'private: progress of running jobs of this database that the caller may see, from shared memory';

create function steep_repl._waiting_reason(operation text) returns text
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_waiting_reason';
comment on function steep_repl._waiting_reason(text) is 'private: why a pending job of this operation does not start, NULL if it is about to';

create function steep_repl._operation_counts(out active bigint, out pending bigint, out last_error text)
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_operation_counts';
comment on function steep_repl._operation_counts() is 'private: jobs of this database for health(); last_error only to who may see that job';

create function steep_repl._cancel(id bigint) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_cancel';
comment on function steep_repl._cancel(bigint) is 'private: cancel_operation, which checks the caller''s rights over the job';

create function steep_repl._retry(id bigint) returns void
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_retry';
comment on function steep_repl._retry(bigint) is 'private: retry_operation, which checks the caller''s rights over the job';

create function steep_repl._prune(older_than interval) returns bigint
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_prune';
comment on function steep_repl._prune(interval) is 'private: prune_operations';

create function steep_repl._drop_snapshot(snapshot_id text) returns boolean
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_drop_snapshot';
comment on function steep_repl._drop_snapshot(text) is 'private: drop_snapshot, which checks the caller''s rights over the snapshot';

create function steep_repl._leftovers(out kind text, out name text, out retained_bytes bigint, out snapshot_id text)
returns setof record
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_leftovers';
comment on function steep_repl._leftovers() is 'private: directories and slots of jobs that are over, which nothing needs';

create function steep_repl._raise(sqlstate text, message text, detail text, hint text) returns void
language c volatile parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_raise';
comment on function steep_repl._raise(text, text, text, text) is 'private: raises an error that JavaScript answered; detail and hint may be NULL';
