-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.start_merge is $doc$
Queues a merge that gives tables of this database and of a peer the same rows, and returns its row at once.

Try it with `dry_run` first; see [merge](merge.md). Table `merge_tables` has the counts of each table, and
`merge_audit_log` has each row that was written, before and after.
@arg peer  The other database.
@arg tables  Tables to merge, as `schema.table`; NULL for all that both databases have.
@arg strategy  Whose row wins where both have a row and they differ: `prefer-local`, `prefer-remote`, `last-modified`, or `manual`, which leaves it to `resolve_conflict`.
@arg dry_run  Whether to compare and count only.
@arg last_modified_column  For strategy `last-modified`: the column that says which row is newer. NULL means the commit timestamp.
@arg local_only  Rows that only this database has: `push` to the peer, `keep`, or `delete` here.
@arg remote_only  Rows that only the peer has: `pull` here, `keep`, or `delete` there.
@arg primary_keys  Columns that identify a row, for tables without a primary key: `{"public.t": ["a", "b"]}`.
@arg backlog  If changes wait to be replicated between the two: `refuse`, or `discard` them; see [discard a backlog](merge.md#discard-a-backlog).
@arg other_subscribers  If other databases subscribe to these tables: `refuse`, or `ignore` that they miss the merged rows.
@arg overlap_id  A complete comparison that `start_overlap` has stored: its rows are merged, and no others. Rows that were changed since are left, and listed by `merge_rows_left`. `tables` NULL means all of its tables.
@arg exclude_tables  Tables to leave out, as patterns like pg_dump's: `audit.*`, `public.log_?`. A pattern without a schema is of any schema.
@arg schemas  All tables of these schemas; not together with `tables`.
@arg skip_unsuitable  Whether to go on without tables that cannot be merged. `merge_tables` has them with the reason. Else the job fails, and names them all.
@returns The merge's row, with status `pending`.
@error 22023  An argument is unknown, or `last_modified_column` without strategy `last-modified`; else as `analyze_overlap`.
@error 42809, 42704, 42501, 2F003  As `analyze_overlap`.
@error 42P01, 42703  A table, or a column of `primary_keys` or `last_modified_column`, does not exist here.
@error 55P03  The job fails: a table was locked for longer than `steep_repl.lock_timeout`.
@error 53400  Too many jobs with a connection string are queued: name a foreign server instead.
@error 55000  The job fails: tables are defined in different ways, changes wait to be replicated, or others subscribe.
@error 42501  The job fails: privileges are missing. The message names all of them, with the GRANT.
@error 0A000  The job fails: row security or rules apply to a table.
@error 25006  The job fails: one side is a standby, or the peer is to be written to and its transactions are read-only.
@example
SELECT merge_id AS rehearsal FROM steep_repl.start_merge('node_b', '{public.orders}', dry_run => true) \gset
SELECT status, local_only_count, remote_only_count, conflict_count
  FROM steep_repl.wait_merge(:'rehearsal');
SELECT merge_id FROM steep_repl.start_merge('node_b', '{public.orders}', strategy => 'manual') \gset
SELECT status, rows_merged, rows_left FROM steep_repl.wait_merge(:'merge_id');
$doc$;

comment on function steep_repl.merge_progress is $doc$
Shows the live progress of one merge or undo, of all active ones, or of the latest when none is active.
@arg merge_id  The merge or undo; NULL for all active ones.
@column merge_id  Identifier of the merge.
@column status  `pending`, `running`, `complete`, `failed` or `cancelled`.
@column current_table  The table being compared or merged.
@column tables_completed  Tables that are done.
@column tables_total  Tables in all; NULL before planning.
@column rows_merged  Rows written so far, on either side.
@column conflict_count  Rows that both have and that differ.
@column error  Message of a merge that failed.
@column phase  `queued`, `planning`, `comparing`, `merging`, `finalizing` or `complete`. It stays where it failed.
@column overall_percent  How far the merge is, 0 to 100. Comparing is counted by rows if both databases have steep_repl, else by tables.
@column eta_seconds  Seconds until the current phase ends, if that is comparing or merging; else NULL.
@error 42704  There is no such merge, or the caller may not see it.
@example
SELECT status, tables_completed, tables_total FROM steep_repl.merge_progress(:'merge_id');
$doc$;

comment on function steep_repl.wait_merge is $doc$
Waits until a merge or an undo is over, and returns its row.
@arg merge_id  The merge or undo.
@arg timeout_seconds  How long to wait, in seconds. 0 returns at once.
@returns The row as it is then. After a timeout its status is still `pending` or `running`.
@error 22023  An argument is null, or the timeout negative.
@error 42704  There is no such merge, or the caller may not see it.
@error 55000  This transaction queued the job, which starts only when it commits; or the transaction is not READ COMMITTED.
@example
SELECT status, rows_merged FROM steep_repl.wait_merge(:'merge_id', timeout_seconds => 600);
$doc$;

comment on function steep_repl.cancel_merge is $doc$
Stops a merge or an undo after its current batch at the latest. What it has written stays.

The audit log has all that was written. `undo_merge` takes it back, and `retry_operation` continues.
@arg merge_id  The merge or undo.
@returns Whether there was something to cancel; false if it is over.
@error 22023  `merge_id` is null.
@error 42704  There is no such merge, or the caller may not see it.
@error 42501  The job belongs to another role.
@example
SELECT steep_repl.cancel_merge(:'merge_id');
$doc$;

comment on function steep_repl.resolve_conflict is $doc$
Settles a conflict: both sides get the local row, or the peer's; or each keeps the row that it has by now.

It runs in your session, and not in a transaction block: ROLLBACK would not reach the peer. If the call cannot
find out whether the peer has committed the row, it warns and leaves the conflict open; call it again.
@arg conflict_id  The conflict, from `merge_conflicts`.
@arg choice  `local` or `remote`: that side's row is written to the other. `keep`: nothing is written, and the conflict is no longer open; the one choice for what an undo has left.
@arg peer  The peer again; required only if the merge was given a connection string.
@returns The conflict's row, resolved.
@error 22023  An argument is null or unknown, or the conflict is with another peer.
@error 42704  There is no such conflict, or the caller may not see it.
@error 25001  The call is in a transaction block.
@error 40001  The row has changed since the conflict was found. Merge the table again.
@error 55P03  A merge of the same table is at work, or another conflict of it is settled, for longer than `steep_repl.lock_timeout`.
@error 55000  The conflict is resolved already, or was left by an undo and `choice` is not `keep`; or the peer must be given again.
@error 42501  Privileges to write the row are missing on one side.
@example
SELECT conflict_id FROM steep_repl.merge_conflicts WHERE status = 'open' LIMIT 1 \gset
SELECT status, choice FROM steep_repl.resolve_conflict(:'conflict_id', 'local');
$doc$;

comment on function steep_repl.undo_merge is $doc$
Queues taking a merge back on both sides, and returns the row of the undo at once.

Rows that were changed after the merge are left alone, and listed in `merge_conflicts` with reason
`changed since`. The undo runs as the role that merged. If an undo has taken all of the merge back before, a warning
names it; another one finds the rows as they were, and writes none.
@arg merge_id  The merge.
@arg peer  The peer again; required only if the merge was given a connection string.
@returns The undo's row in `merges`, with status `pending`.
@error 22023  `merge_id` is null, or the merge was with another peer.
@error 42704  There is no such merge, or the caller may not see it.
@error 42501  The merge belongs to a role that the caller is not a member of; or another role than the one that merged gives a connection string.
@error 55006  The merge is still pending or running.
@error 55000  It was a dry run, or is itself an undo; or the peer must be given again.
@example
SELECT merge_id AS undo_id FROM steep_repl.undo_merge(:'merge_id') \gset
SELECT status, rows_merged FROM steep_repl.wait_merge(:'undo_id');
$doc$;

comment on function steep_repl.merge_rows_left is $doc$
Lists the rows that a merge or an undo has left as they were, and why.

Rows that the arguments leave on purpose (`keep`) are counted in `merge_tables`, and not listed here.
@arg merge_id  The merge or undo.
@column table_name  The table, as `schema.table`.
@column key  What identifies the row: an object of column name to the type's own text output.
@column reason  Why it was left: the error of the constraint that refuses it, that the other side has no place for it, that it is locked, or that it was changed.
@error 42704  There is no such merge, or the caller may not see it.
@error 42501  The merge belongs to a role that the caller is not a member of.
@example
SELECT table_name, key, reason FROM steep_repl.merge_rows_left(:'merge_id');
$doc$;
