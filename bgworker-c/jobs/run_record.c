/*
 * run_record.c
 *	  What a coordinator writes down: fixed statements as the extension's
 *	  owner, each in a short transaction of its own, and notifications.
 */
#include "jobs/run.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "jobs/job_rows.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/progress.h"
#include "base/settings.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/pg_lsn.h"
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

	static const char *const ops[] = {[JOB_SNAPSHOT] = "snapshot",
									  [JOB_APPLY] = "apply",
									  [JOB_OVERLAP] = "overlap",
									  [JOB_MERGE] = "merge"};
	static const char *const ids[] = {[JOB_SNAPSHOT] = "snapshot_id",
									  [JOB_APPLY] = "snapshot_id",
									  [JOB_OVERLAP] = "overlap_id",
									  [JOB_MERGE] = "merge_id"};

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
										 : "snapshots";
}

static Datum
percent_datum(double percent)
{
	return DirectFunctionCall1(float8_numeric, Float8GetDatum(percent));
}

/*
 * The job's row in work_queue, unless a transaction of its requester, who may
 * lock it, has it: what only informs is then left out.
 */
#define ROW_IF_FREE \
	"(select w.id from steep_repl.work_queue w where w.id = $1 for update skip locked)"

/* Read what the job is to do, and say which process does it. */
void
record_start(JobRun *run)
{
	OwnerSession session;
	MemoryContext old;
	Oid types[] = {INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum(run->job->id), Int32GetDatum(MyProcPid)};

	begin(&session);
	if (owner_execute("select operation, params::text from steep_repl.work_queue where id = $1", 1,
					  types, values, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the job's row was deleted")));
	old = MemoryContextSwitchTo(run->context);
	run->operation = owner_text(0, 1);
	run->params = owner_text(0, 2);
	MemoryContextSwitchTo(old);
	owner_execute("update steep_repl.work_queue set worker_pid = $2 where id = " ROW_IF_FREE, 2,
				  types, values, NULL);
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
	owner_execute("update steep_repl._job_directories set begun = $2 where operation_id = $1", 2,
				  (Oid[]){INT8OID, TEXTOID},
				  (Datum[]){Int64GetDatum(run->job->id), CStringGetTextDatum(kind)}, NULL);
	owner_commit_transaction(&session);
}

/*
 * Bring row and listeners up to date: on a change of phase, else once a second.
 * A row, or a table, that somebody has locked is left for the next time.
 */
void
record_progress(JobRun *run, bool force)
{
	static const char *const sql =
		"update steep_repl.snapshots set phase = $2, overall_percent = round($3, 2), current_table = $4, "
		"  tables_completed = $5, table_count = $6, bytes_processed = $7, eta_seconds = $8, "
		"  throughput_bytes_sec = $9, rows_written = $10 "
		"where operation_id = (select s.operation_id from steep_repl.snapshots s where s.operation_id = $1 for update skip locked)";
	static const char *const sql_merge =
		"update steep_repl.merges set phase = $2, overall_percent = round($3, 2), current_table = $4, "
		"  tables_completed = $5, table_count = $6 "
		"where operation_id = (select m.operation_id from steep_repl.merges m where m.operation_id = $1 for update skip locked)";
	static const char *const sql_overlap =
		"update steep_repl.overlaps set phase = $2, overall_percent = round($3, 2), current_table = $4, "
		"  tables_completed = $5, table_count = $6 "
		"where operation_id = (select o.operation_id from steep_repl.overlaps o where o.operation_id = $1 for update skip locked)";
	Oid types[] = {INT8OID, TEXTOID, NUMERICOID, TEXTOID, INT4OID,
				   INT4OID, INT8OID, INT8OID,    INT8OID, INT8OID};
	char nulls[] = "          ";
	Datum values[10];
	TimestampTz now = GetCurrentTimestamp();
	OwnerSession session;
	JobProgress progress;

	progress_read(run->job, &progress);
	if (strcmp(progress.phase, run->recorded_phase) == 0 && !force &&
		!TimestampDifferenceExceeds(run->last_record, now, RECORD_INTERVAL_MS))
		return;

	begin(&session);
	if (!owner_can_lock(job_table(run)))
	{
		owner_commit_transaction(&session);
		return;
	}
	values[0] = Int64GetDatum(run->job->id);
	values[1] = CStringGetTextDatum(progress.phase);
	values[2] = percent_datum(progress.percent);
	values[3] = CStringGetTextDatum(progress.current_table);
	nulls[3] = progress.current_table[0] ? ' ' : 'n';
	values[4] = Int32GetDatum(progress.tables_done);
	values[5] = Int32GetDatum(progress.tables_total);
	nulls[5] = progress.tables_total > 0 ? ' ' : 'n';
	values[6] = Int64GetDatum(progress.raw_bytes);
	values[7] = Int64GetDatum(progress.eta_seconds);
	nulls[7] = progress.eta_seconds >= 0 ? ' ' : 'n';
	values[8] = Int64GetDatum(progress.seconds > 0 ? progress.raw_bytes / progress.seconds : 0);
	nulls[8] = progress.seconds > 0 ? ' ' : 'n';
	values[9] = Int64GetDatum(progress.rows);
	if (run->job->kind == JOB_OVERLAP)
		owner_execute(sql_overlap, 6, types, values, nulls);
	else if (run->job->kind == JOB_MERGE)
		owner_execute(sql_merge, 6, types, values, nulls);
	else
		owner_execute(sql, 10, types, values, nulls);
	owner_commit_transaction(&session);
	notify(run, &progress, NULL, NULL);

	run->last_record = now;
	strlcpy(run->recorded_phase, progress.phase, sizeof(run->recorded_phase));
}

/* What the job waits for; NULL = nothing. */
void
record_status_detail(JobRun *run, const char *detail)
{
	OwnerSession session;
	char nulls[] = "  ";

	nulls[1] = detail ? ' ' : 'n';
	begin(&session);
	if (owner_can_lock("work_queue"))
		owner_execute(
			"update steep_repl.work_queue set status_detail = $2 where status_detail is distinct from $2 and id = " ROW_IF_FREE,
			2, (Oid[]){INT8OID, TEXTOID},
			(Datum[]){Int64GetDatum(run->job->id),
					  detail ? CStringGetTextDatum(detail) : (Datum) 0},
			nulls);
	owner_commit_transaction(&session);
}

/*
 * Transactions that were running when the slot was asked for delay it until
 * they end: name the oldest. NULL if there is none, or the slot is nearly there.
 */
char *
describe_slot_blocker(JobRun *run)
{
	static const char *const sql =
		"select format('waiting for a transaction to end before the slot can begin: %s', b.what) from ("
		"  select format('prepared transaction \"%s\" of role \"%s\"', p.gid, p.owner) as what, p.prepared as since "
		"  from pg_catalog.pg_prepared_xacts p "
		"  union all "
		"  select format('process %s of role \"%s\"', a.pid, a.usename), a.xact_start "
		"  from pg_catalog.pg_stat_activity a where a.backend_xid is not null and a.pid <> pg_backend_pid() "
		") b where b.since < now() - interval '1 s' order by b.since limit 1";
	OwnerSession session;
	MemoryContext old;
	char *result = NULL;

	begin(&session);
	if (owner_execute(sql, 0, NULL, NULL, NULL) > 0)
	{
		old = MemoryContextSwitchTo(run->context);
		result = owner_text(0, 1);
		MemoryContextSwitchTo(old);
	}
	owner_commit_transaction(&session);
	return result;
}

/*
 * What a finished snapshot is, in the row; its status follows in record_end. A
 * slot is noted where no user can write before it becomes persistent.
 */
void
record_snapshot_result(JobRun *run, int64 size_bytes, int64 rows, int64 raw_bytes,
					   const char *checksum, XLogRecPtr lsn)
{
	OwnerSession session;

	begin(&session);
	owner_execute(
		"update steep_repl.snapshots set size_bytes = $2, rows_written = $3, bytes_processed = $4, checksum = $5, lsn = $6 where operation_id = $1",
		6, (Oid[]){INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, PG_LSNOID},
		(Datum[]){Int64GetDatum(run->job->id), Int64GetDatum(size_bytes), Int64GetDatum(rows),
				  Int64GetDatum(raw_bytes), CStringGetTextDatum(checksum), LSNGetDatum(lsn)},
		NULL);
	if (run->job->slot_name[0] != '\0')
		owner_execute(
			"update steep_repl._job_directories set slot_name = $2, slot_lsn = $3 where operation_id = $1",
			3, (Oid[]){INT8OID, TEXTOID, PG_LSNOID},
			(Datum[]){Int64GetDatum(run->job->id), CStringGetTextDatum(run->job->slot_name),
					  LSNGetDatum(lsn)},
			NULL);
	owner_commit_transaction(&session);
}

/* Of an apply: which snapshot it loads, as its manifest says. */
void
record_apply_source(JobRun *run, const Manifest *manifest)
{
	OwnerSession session;
	char checksum[DIGEST_HEX_SIZE];
	char nulls[] = "        ";

	digest_to_hex(manifest->sha256, checksum);
	nulls[6] = manifest->slot_name ? ' ' : 'n';
	begin(&session);
	owner_execute(
		"update steep_repl.snapshots set source_snapshot_id = $2, compression = $3, checksum = $4, size_bytes = $5, "
		"  lsn = nullif($6, '')::pg_lsn, slot_name = $7, storage_path = $8 where operation_id = $1",
		8, (Oid[]){INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID},
		(Datum[]){Int64GetDatum(run->job->id), CStringGetTextDatum(manifest->snapshot_id),
				  CStringGetTextDatum(manifest->compression), CStringGetTextDatum(checksum),
				  Int64GetDatum((int64) manifest->stored_bytes), CStringGetTextDatum(manifest->lsn),
				  manifest->slot_name ? CStringGetTextDatum(manifest->slot_name) : (Datum) 0,
				  CStringGetTextDatum(run->job->path)},
		nulls);
	owner_commit_transaction(&session);
}

/* What the job goes on without: a JSON array of texts, for the row and the log. */
void
record_warnings(JobRun *run, const char *json)
{
	OwnerSession session;

	begin(&session);
	owner_execute(
		psprintf(
			"update steep_repl.%s set warnings = array(select jsonb_array_elements_text($2::jsonb)) "
			"where operation_id = $1 returning array_to_string(warnings, E'\n')",
			job_table(run)),
		2, (Oid[]){INT8OID, TEXTOID},
		(Datum[]){Int64GetDatum(run->job->id), CStringGetTextDatum(json)}, NULL);
	if (SPI_processed == 1)
		ereport(WARNING,
				(errmsg("steep_repl: %s goes on, but: %s", run->job->object_id, owner_text(0, 1))));
	owner_commit_transaction(&session);
}

/* How the job ended: both rows, the last notification and one line in the log. */
void
record_end(JobRun *run, const char *status, const ErrorData *error)
{
	static const char *const sql_queue =
		"update steep_repl.work_queue set status = $2, status_detail = null, worker_pid = null, "
		"  completed_at = clock_timestamp(), error_message = $3, error_sqlstate = $4, error_hint = $5 where id = $1";
	static const char *const sql_directory =
		"delete from steep_repl._job_directories where operation_id = $1";
	static const char *const sql_done =
		"delete from steep_repl._apply_done where operation_id = $1";
	Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	char nulls[] = "     ";
	Datum values[5] = {Int64GetDatum(run->job->id), CStringGetTextDatum(status)};
	char *message = NULL;
	const char *sqlstate = error ? unpack_sql_state(error->sqlerrcode) : NULL;
	OwnerSession session;
	JobProgress progress;

	if (error != NULL)
	{
		message = error->detail ? psprintf("%s: %s", error->message, error->detail)
								: pstrdup(error->message);
		values[2] = CStringGetTextDatum(message);
		values[3] = CStringGetTextDatum(sqlstate);
		if (error->hint)
			values[4] = CStringGetTextDatum(error->hint);
	}
	nulls[2] = nulls[3] = error ? ' ' : 'n';
	nulls[4] = error && error->hint ? ' ' : 'n';

	progress_read(run->job, &progress);
	begin(&session);
	owner_execute(sql_queue, 5, types, values, nulls);
	job_rows_end(run->job->id, status, message, sqlstate, error ? error->hint : NULL);
	if (!run->owns_directory)
		owner_execute(sql_directory, 1, types, values, NULL);
	if (strcmp(status, "complete") == 0 && run->job->kind == JOB_APPLY)
		owner_execute(sql_done, 1, types, values, NULL);
	owner_commit_transaction(&session);
	/* From the commit on a finished snapshot is the user's: nothing may remove it. */
	run->owns_directory = false;
	notify(run, &progress, status, sqlstate);
}
