-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.list_operations is $doc$
Lists jobs of this database that the caller may see, newest first, at most 100.

`status_detail` of a pending job says what it waits for.
@arg status  `pending`, `running`, `complete`, `failed` or `cancelled`; NULL for all.
@returns The jobs' rows.
@error 22023  The status is unknown.
@example
SELECT id, operation, status, status_detail FROM steep_repl.list_operations('failed');
$doc$;

comment on function steep_repl.cancel_operation is $doc$
Cancels a job; a running one ends within seconds.
@arg id  The job.
@returns Whether there was something to cancel; false if it is over.
@error 22023  `id` is null.
@error 42704  There is no such job.
@error 42501  The job belongs to another role, and the caller is neither a member of it nor of `pg_signal_backend`.
@error 55006  Its worker has just ended, and the server has not decided yet how the job goes on. Try again.
@example
SELECT operation_id FROM steep_repl.start_snapshot('/backups/cancelled') \gset
SELECT steep_repl.cancel_operation(:'operation_id');
SELECT status FROM steep_repl.wait_operation(:'operation_id');
$doc$;

comment on function steep_repl.retry_operation is $doc$
Queues a failed or cancelled job again, with its arguments and as its role.

An apply and a merge continue where they stopped. A snapshot and a comparison start anew.
@arg id  The job.
@arg peer  The peer again; required only if the job was given a connection string.
@returns The job's row, with status `pending`.
@error 22023  `id` is null, the job takes no peer, or it is about another peer.
@error 42704  There is no such job.
@error 42501  The job belongs to a role that the caller cannot become.
@error 55000  The job is pending, running or complete; or the peer must be given again.
@example
SELECT id FROM steep_repl.list_operations('cancelled') LIMIT 1 \gset
SELECT status FROM steep_repl.retry_operation(:'id');
SELECT status FROM steep_repl.wait_operation(:'id');
$doc$;

comment on function steep_repl.wait_operation is $doc$
Waits until a job is over, and returns its row.
@arg id  The job.
@arg timeout_seconds  How long to wait, in seconds. 0 returns at once.
@returns The row as it is then. After a timeout its status is still `pending` or `running`.
@error 22023  An argument is null, or the timeout negative.
@error 42704  There is no such job.
@error 42501  The job belongs to another role, and the caller may neither see nor cancel it.
@error 55000  This transaction queued the job, which starts only when it commits; or the transaction is not READ COMMITTED.
@example
SELECT status, completed_at IS NOT NULL AS is_over FROM steep_repl.wait_operation(:'id', timeout_seconds => 60);
$doc$;

comment on function steep_repl.prune_operations is $doc$
Removes rows of the caller's jobs that ended longer ago than a given time.

Rows of complete snapshots stay in `snapshots` until `drop_snapshot` removes them.
@arg older_than  Age of the jobs to remove.
@returns The number of jobs removed.
@error 22023  `older_than` is null or negative.
@example
SELECT steep_repl.prune_operations('90 days');
$doc$;
