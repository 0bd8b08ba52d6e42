/*
 * run_record.c
 *	  What a coordinator writes down: as the extension's owner, each in a short transaction of its own, and notifications.
 */
#include "jobs/run.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/progress.h"
#include "base/settings.h"
#include "utils/json.h"
#include "utils/timestamp.h"

/* Rows and notifications move at most this often within a phase. */
#define RECORD_INTERVAL_MS 1000

/* Raised when our tables are gone: there is nothing left to write to. */
static void
begin(OwnerSession *session)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!extension_is_installed())
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("extension \"%s\" was dropped while the job ran", STEEP_NAME)));
	CommitTransactionCommand();
	owner_begin_transaction(session);
}

/* One JSON member of a notification. */
static void
add_member(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, ",\"%s\":", key);
	escape_json(json, value);
}

/*
 * What listeners are told. Any role can listen: so the table's name is optional,
 * and of an error there is its SQLSTATE only. Its text, which may have values of
 * rows in it, is in the job's row.
 */
static char *
notification(JobRun *run, const JobProgress *progress, const char *status, const char *sqlstate)
{
	StringInfoData json;

	static const char *const ops[] = {
		[JOB_SNAPSHOT] = "snapshot", [JOB_APPLY] = "apply", [JOB_OVERLAP] = "overlap",
		[JOB_MERGE] = "merge",       [JOB_PAIR] = "pair",   [JOB_FETCH] = "fetch"};
	static const char *const ids[] = {
		[JOB_SNAPSHOT] = "snapshot_id", [JOB_APPLY] = "snapshot_id", [JOB_OVERLAP] = "overlap_id",
		[JOB_MERGE] = "merge_id",       [JOB_PAIR] = "pair_id",      [JOB_FETCH] = "snapshot_id"};

	initStringInfo(&json);
	appendStringInfo(&json, "{\"op\":\"%s\"", ops[run->job->kind]);
	add_member(&json, ids[run->job->kind], run->job->object_id);
	add_member(&json, "phase", progress->phase);
	appendStringInfo(&json, ",\"percent\":%.1f", progress->percent);
	if (steep_notify_table_names && progress->current_table[0] != '\0')
		add_member(&json, "table", progress->current_table);
	if (status != NULL)
		add_member(&json, "status", status);
	if (sqlstate != NULL)
	{
		add_member(&json, "sqlstate", sqlstate);
		add_member(&json, "error", "the job has failed; its row says why");
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/*
 * Tell listeners, in a transaction of its own. The queue of notifications is
 * everybody's, and whoever listens and stays in a transaction can fill it: then
 * the job goes on untold.
 */
static void
notify(JobRun *run, const JobProgress *progress, const char *status, const char *sqlstate)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		StartTransactionCommand();
		Async_Notify("steep_repl_progress", notification(run, progress, status, sqlstate));
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		ereport(LOG, (errmsg("steep_repl: could not notify of %s: %s", run->job->object_id,
							 error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

/* The table that has the row of a job's result. */
static const char *
job_table(JobRun *run)
{
	return run->job->kind == JOB_OVERLAP ? "overlaps"
		   : run->job->kind == JOB_MERGE ? "merges"
		   : run->job->kind == JOB_PAIR  ? "pairs"
										 : "snapshots";
}

/* Read what the job is to do, and say which process does it. */
void
record_start(JobRun *run)
{
	OwnerSession session;
	MemoryContext old;

	begin(&session);
	owner_execute("select * from steep_repl._job_begun($1, $2)",
				  SQL_ARGS(arg_int8(run->job->id), arg_int4(MyProcPid)));
	old = MemoryContextSwitchTo(run->context);
	run->operation = owner_text(0, 1);
	run->params = owner_text(0, 2);
	MemoryContextSwitchTo(old);
	if (run->operation == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the job's row was deleted")));
	owner_commit_transaction(&session);
}

/*
 * Which action begins, on disk before it does: a job that is resumed must not
 * fail at the same one again and again.
 */
void
record_begun(JobRun *run, const char *kind)
{
	OwnerSession session;

	begin(&session);
	owner_execute("update steep_repl._job_directories set begun = $2 where operation_id = $1",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(kind)));
	owner_commit_transaction(&session);
}

/* The row of a job, unless somebody has its table locked. */
static void
write_progress(JobRun *run, const JobProgress *progress)
{
	const char *target = job_table(run);
	bool has_speed = progress->seconds > 0;
	OwnerSession session;

	begin(&session);
	if (owner_can_lock(target))
		owner_execute(
			"select steep_repl._job_progress($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
			SQL_ARGS(arg_int8(run->job->id), arg_text(target), arg_text(progress->phase),
					 arg_datum(FLOAT8OID, Float8GetDatum(progress->percent)),
					 arg_text(progress->current_table[0] ? progress->current_table : NULL),
					 arg_int4(progress->tables_done),
					 arg_if(progress->tables_total > 0, arg_int4(progress->tables_total)),
					 arg_int8(progress->raw_bytes),
					 arg_if(progress->eta_seconds >= 0, arg_int8(progress->eta_seconds)),
					 arg_if(has_speed,
							arg_int8(has_speed ? progress->raw_bytes / progress->seconds : 0)),
					 arg_int8(progress->rows)));
	owner_commit_transaction(&session);
}

/*
 * Bring row and listeners up to date: on a change of phase, else once a second.
 * A row, or a table, that somebody has locked is left for the next time.
 */
void
record_progress(JobRun *run, bool force)
{
	TimestampTz now = GetCurrentTimestamp();
	JobProgress progress;

	progress_read(run->job, &progress);
	if (strcmp(progress.phase, run->recorded_phase) == 0 && !force &&
		!TimestampDifferenceExceeds(run->last_record, now, RECORD_INTERVAL_MS))
		return;
	write_progress(run, &progress);
	notify(run, &progress, NULL, NULL);
	run->last_record = now;
	strlcpy(run->recorded_phase, progress.phase, sizeof(run->recorded_phase));
}

/* What the job waits for; NULL = nothing. */
void
record_status_detail(JobRun *run, const char *detail)
{
	OwnerSession session;

	begin(&session);
	if (owner_can_lock("work_queue"))
		owner_execute("select steep_repl._job_waits($1, $2)",
					  SQL_ARGS(arg_int8(run->job->id), arg_text(detail)));
	owner_commit_transaction(&session);
}

/* What a slot that is being made waits for; NULL if for nothing, or it is nearly there. */
char *
describe_slot_blocker(JobRun *run)
{
	OwnerSession session;
	MemoryContext old;
	char *result;

	begin(&session);
	owner_execute("select steep_repl._slot_blocker()", NO_ARGS);
	old = MemoryContextSwitchTo(run->context);
	result = owner_text(0, 1);
	MemoryContextSwitchTo(old);
	owner_commit_transaction(&session);
	return result;
}

/* What a finished snapshot is, in the row; its status follows in record_end. */
void
record_snapshot_result(JobRun *run, int64 size_bytes, int64 rows, int64 raw_bytes,
					   const char *checksum, XLogRecPtr lsn)
{
	const char *slot_name = run->job->slot_name;
	OwnerSession session;

	begin(&session);
	owner_execute("select steep_repl._snapshot_result($1, $2, $3, $4, $5, $6, $7)",
				  SQL_ARGS(arg_int8(run->job->id), arg_int8(size_bytes), arg_int8(rows),
						   arg_int8(raw_bytes), arg_text(checksum), arg_lsn(lsn),
						   arg_text(slot_name[0] ? slot_name : NULL)));
	owner_commit_transaction(&session);
}

/* Of an apply or a fetch: which snapshot it is about, as the manifest says. */
void
record_source(JobRun *run, const Manifest *manifest)
{
	OwnerSession session;
	char checksum[DIGEST_HEX_SIZE];

	digest_to_hex(manifest->sha256, checksum);
	begin(&session);
	owner_execute("select steep_repl._job_source($1, $2, $3, $4, $5, $6, $7, $8)",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(manifest->snapshot_id),
						   arg_text(manifest->compression), arg_text(checksum),
						   arg_int8((int64) manifest->stored_bytes), arg_text(manifest->lsn),
						   arg_text(manifest->slot_name), arg_text(run->job->path)));
	owner_commit_transaction(&session);
}

/* What the job goes on without: a JSON array of texts, for the row and the log. */
void
record_warnings(JobRun *run, const char *json)
{
	OwnerSession session;
	char *lines;

	begin(&session);
	owner_execute("select steep_repl._job_warns($1, $2, $3::jsonb)",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(job_table(run)), arg_text(json)));
	lines = owner_text(0, 1);
	if (lines != NULL)
		ereport(WARNING, (errmsg("steep_repl: %s goes on, but: %s", run->job->object_id, lines)));
	owner_commit_transaction(&session);
}

/* How the job ended: both rows, the last notification and one line in the log. */
void
record_end(JobRun *run, const char *status, const ErrorData *error)
{
	const char *sqlstate = error ? unpack_sql_state(error->sqlerrcode) : NULL;
	const char *message = error ? error->message : NULL;
	OwnerSession session;
	JobProgress progress;

	if (error != NULL && error->detail != NULL)
		message = psprintf("%s: %s", error->message, error->detail);
	progress_read(run->job, &progress);
	begin(&session);
	owner_execute("select steep_repl._job_ended($1, $2, $3, $4, $5, $6)",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(status), arg_text(message),
						   arg_text(sqlstate), arg_text(error ? error->hint : NULL),
						   arg_bool(run->owns_directory)));
	owner_commit_transaction(&session);
	/* From the commit on a finished snapshot is the user's: nothing may remove it. */
	run->owns_directory = false;
	notify(run, &progress, status, sqlstate);
}
