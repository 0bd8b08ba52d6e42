/*
 * recovery.c
 *	  Jobs that nobody stands for any more: resumes or fails those that a crash
 *	  left running.
 *
 * Called by dispatchers. It asks and writes as the extension's owner, and
 * trusts of a row only what the guards keep users from writing. Files that a job
 * has left are a remover's work: all jobs of the database wait for a dispatcher.
 */
#include "workers/recovery.h"

#include "jobs/job_remains.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/peer_secret.h"
#include "jobs/shared_state.h"
#include "utils/builtins.h"

/* So often a job is resumed after a crash. */
#define MAX_RESUMES 10

/*
 * Record a job that cannot go on. False if it has ended by itself meanwhile:
 * then nothing of it may be touched. Inside a transaction as the owner.
 */
static bool
record_failure(int64 id, const char *message, const char *sqlstate, const char *hint)
{
	bool isnull;

	owner_execute("select steep_repl._job_lost($1, $2, $3, $4)",
				  SQL_ARGS(arg_int8(id), arg_text(message), arg_text(sqlstate), arg_text(hint)));
	if (!DatumGetBool(owner_value(0, 1, &isnull)))
		return false;
	peer_secret_forget(id);
	ereport(WARNING, (errmsg("steep_repl: operation " INT64_FORMAT " failed: %s", id, message)));
	return true;
}

/*
 * Give up what a job that is over has left, by what our private table says: its
 * slot goes, its files are to be removed, unless it can go on from them. Until
 * they are, the private row stays and leftovers() shows them.
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
		owner_execute("select steep_repl._files_given_up($1)", SQL_ARGS(arg_int8(id)));
}

/* Fail a job that cannot go on, unless it has ended by itself, and give up what it has left. */
void
recovery_fail_job(int64 id, const char *message, const char *sqlstate, const char *hint)
{
	if (record_failure(id, message, sqlstate, hint))
		give_up_remains(id);
}

/* Have a job that can go on queued again; false if it cannot. One that has got nowhere is failed. */
static bool
resume(int64 id)
{
	const char *result;

	owner_execute("select steep_repl._job_resumed($1, $2)",
				  SQL_ARGS(arg_int8(id), arg_int4(MAX_RESUMES)));
	result = owner_text(0, 1);
	if (strcmp(result, "no") == 0)
		return false;
	if (strcmp(result, "stuck") == 0)
		recovery_fail_job(
			id, "the server or the job's worker ended twice at the same action of the job", "57P02",
			"The job may be the reason: see the server log. Go on with retry_operation(id).");
	else
		ereport(LOG, (errmsg("steep_repl: operation " INT64_FORMAT " is resumed", id)));
	return true;
}

/* What is to be said of a job that is lost. */
static void
fail_lost_job(int64 id, const char *operation)
{
	const char *hint =
		strcmp(operation, "overlap") == 0 || strcmp(operation, "bidirectional_merge") == 0 ||
				strcmp(operation, "merge_undo") == 0 || strcmp(operation, "snapshot_fetch") == 0 ||
				strcmp(operation, "pair") == 0
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
	n = owner_execute("select * from steep_repl._lock_running_jobs()", NO_ARGS);
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
	{
		bool isnull;

		owner_execute("select steep_repl._job_is_unfinished($1)", SQL_ARGS(arg_int8(ids[i])));
		if (!DatumGetBool(owner_value(0, 1, &isnull)))
			peer_secret_forget(ids[i]);
	}
	owner_commit_transaction(&session);
}

/* See after what a crash has left behind in this database. */
void
recovery_run(void)
{
	recover_jobs();
	forget_orphaned_secrets();
}
