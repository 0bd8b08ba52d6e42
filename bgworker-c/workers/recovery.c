/*
 * recovery.c
 *	  Jobs that nobody stands for any more: resumes or fails those that a crash
 *	  left running.
 *
 * Called by dispatchers. It runs fixed statements as the extension's owner, and
 * trusts of a row only what the guards keep users from writing. Files that a job
 * has left are a remover's work: all jobs of the database wait for a dispatcher.
 */
#include "workers/recovery.h"

#include "catalog/pg_type.h"
#include "jobs/job_remains.h"
#include "jobs/job_rows.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/peer_secret.h"
#include "jobs/shared_state.h"
#include "utils/builtins.h"

/* So often an apply is resumed after a crash. */
#define MAX_RESUMES 10

/* The jobs of this cluster and this database. */
#define MINE "w.system_identifier = steep_repl._system_identifier() and w.database_oid = $1 "

static const char *const sql_finish_queue =
	"update steep_repl.work_queue set status = 'failed', status_detail = null, worker_pid = null, completed_at = clock_timestamp(), "
	"  error_message = $2, error_sqlstate = $3, error_hint = $4 "
	"where id = $1 and status in ('pending', 'running')";
/*
 * Record a job that cannot go on. False if it has ended by itself meanwhile:
 * then nothing of it may be touched. Inside a transaction as the owner.
 */
static bool
record_failure(int64 id, const char *message, const char *sqlstate, const char *hint)
{
	Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {Int64GetDatum(id), CStringGetTextDatum(message),
					  CStringGetTextDatum(sqlstate), CStringGetTextDatum(hint)};

	if (owner_execute(sql_finish_queue, 4, types, values, NULL) == 0)
		return false;
	job_rows_end(id, "failed", message, sqlstate, hint);
	peer_secret_forget(id);
	ereport(WARNING, (errmsg("steep_repl: operation " INT64_FORMAT " failed: %s", id, message)));
	return true;
}

/*
 * Give up what a job that is over has left, by what our private table says: its
 * slot goes, its files are to be removed. Until they are, the private row stays
 * and leftovers() shows them.
 */
static void
give_up_remains(int64 id)
{
	JobRemains remains;

	if (!job_remains_find(id, &remains))
		return;
	(void) job_slot_drop(&remains);
	if (remains.path[0] == '\0')
		job_remains_forget(id);
	else
		owner_execute(
			"update steep_repl._job_directories set to_remove = true where operation_id = $1", 1,
			(Oid[]){INT8OID}, (Datum[]){Int64GetDatum(id)}, NULL);
}

/* Fail a job that cannot go on, unless it has ended by itself, and give up what it has left. */
void
recovery_fail_job(int64 id, const char *message, const char *sqlstate, const char *hint)
{
	if (record_failure(id, message, sqlstate, hint))
		give_up_remains(id);
}

/*
 * Whether a job got any further than the last time that it was interrupted: to
 * another action, or with this one. If not, it may itself be what brings the
 * server down.
 */
static bool
has_moved_on(int64 id)
{
	return owner_execute(
			   "update steep_repl._job_directories d set died_at = p.place, begun = 'start' "
			   "from (select concat_ws(' ', x.begun, "
			   "  (select count(*) from steep_repl._apply_done a where a.operation_id = x.operation_id), "
			   "  (select m.rows_merged from steep_repl.merges m where m.operation_id = x.operation_id)) as place "
			   "  from steep_repl._job_directories x where x.operation_id = $1) p "
			   "where d.operation_id = $1 and d.died_at is distinct from p.place",
			   1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(id)}, NULL) == 1;
}

/*
 * An apply goes on where it stopped: what it did is marked. Not for ever, in
 * case it is the apply that brings the server down.
 */
static bool
resume(int64 id)
{
	Oid types[] = {INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum(id), Int32GetDatum(MAX_RESUMES)};

	if (owner_execute(
			"update steep_repl.work_queue set status = 'pending', worker_pid = null, "
			"  status_detail = 'to be resumed: the server or the job''s worker ended before the job did' "
			"where id = $1 and status = 'running' and attempts <= $2 "
			"  and (operation = 'snapshot_apply' or operation in ('bidirectional_merge', 'merge_undo') and params -> 'is_conninfo' = 'false')",
			2, types, values, NULL) == 0)
		return false;
	if (!has_moved_on(id))
	{
		recovery_fail_job(
			id, "the server or the job's worker ended twice at the same action of the job", "57P02",
			"The job may be the reason: see the server log. Go on with retry_operation(id).");
		return true;
	}
	job_rows_resume(id);
	ereport(LOG, (errmsg("steep_repl: operation " INT64_FORMAT " is resumed", id)));
	return true;
}

/* What is to be said of a job that is lost. */
static void
fail_lost_job(int64 id, const char *operation)
{
	const char *hint =
		strcmp(operation, "overlap") == 0 || strcmp(operation, "bidirectional_merge") == 0 ||
				strcmp(operation, "merge_undo") == 0
			? "Go on with retry_operation(id); with peer => '...' where it was a connection string."
		: strcmp(operation, "snapshot_apply") == 0
			? "It was interrupted too often; the server log may have the reason. Go on with retry_operation(id)."
			: "A snapshot cannot be resumed, since what it saw is gone. Start it again with retry_operation(id); the server log has the reason.";

	recovery_fail_job(id, "the server or the job's worker ended before the job did", "57P02", hint);
}

/*
 * Resume or fail the running jobs that no living coordinator stands for. A role
 * may lock rows of its own: they are left for later, so as not to hold up others.
 */
static void
recover_jobs(void)
{
	OwnerSession session;
	SPITupleTable *jobs;
	uint64 n;

	owner_begin_transaction(&session);
	n = owner_execute(
		"select w.id, w.operation from steep_repl.work_queue w where w.status = 'running' and " MINE
		"for update skip locked",
		1, (Oid[]){OIDOID}, (Datum[]){ObjectIdGetDatum(MyDatabaseId)}, NULL);
	jobs = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool isnull;
		int64 id = DatumGetInt64(SPI_getbinval(jobs->vals[i], jobs->tupdesc, 1, &isnull));

		if (job_find(id, MyDatabaseId) == NULL && !resume(id))
			fail_lost_job(id, SPI_getvalue(jobs->vals[i], jobs->tupdesc, 2));
	}
	owner_commit_transaction(&session);
}

/*
 * Connection strings of jobs that no longer wait: their row was deleted, or rolled back
 * with a savepoint.
 */
static void
forget_orphaned_secrets(void)
{
	int64 ids[PEER_SECRETS];
	int n = peer_secret_ids(MyDatabaseId, ids);
	OwnerSession session;

	if (n == 0)
		return;
	owner_begin_transaction(&session);
	for (int i = 0; i < n; i++)
		if (owner_execute(
				"select from steep_repl.work_queue w where w.id = $1 and w.status in ('pending', 'running')",
				1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(ids[i])}, NULL) == 0)
			peer_secret_forget(ids[i]);
	owner_commit_transaction(&session);
}

/* See after what a crash has left behind in this database. */
void
recovery_run(void)
{
	recover_jobs();
	forget_orphaned_secrets();
}
