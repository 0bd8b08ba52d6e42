/*
 * dispatcher.c
 *	  A short-lived worker in one database: says of jobs that a crash left
 *	  behind how they ended, and claims pending jobs for which there are slots.
 *
 * It runs fixed statements as the extension's owner, and trusts of a row only
 * what the guards keep users from writing.
 */
#include "steep_repl.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "directory.h"
#include "job_remains.h"
#include "job_rows.h"
#include "miscadmin.h"
#include "owner.h"
#include "peer_secret.h"
#include "postmaster/interrupt.h"
#include "shared_state.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "worker.h"

/* So often an apply is resumed after a crash. */
#define MAX_RESUMES 10

/* The jobs of this cluster and this database. */
#define MINE "w.system_identifier = steep_repl._system_identifier() and w.database_oid = $1 "

/* What this process has reserved and not yet handed over. */
static SteepJob *reserved = NULL;

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
 * Remove what a job that is over has left, by what our private table says. If
 * something stays, the private row stays too and leftovers() shows it.
 */
static void
remove_remains(int64 id)
{
	JobRemains remains;

	if (!job_remains_find(id, &remains))
		return;
	(void) job_slot_drop(&remains);
	if (remains.path[0] != '\0' && directory_remove(remains.path, &remains.mark) == REMOVE_FAILED)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("steep_repl: could not remove the files of operation " INT64_FORMAT ": %m",
						id)));
	else
		job_remains_forget(id);
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
		if (record_failure(
				id, "the server or the job's worker ended twice at the same action of the job",
				"57P02",
				"The job may be the reason: see the server log. Go on with retry_operation(id)."))
			remove_remains(id);
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

	if (record_failure(id, "the server or the job's worker ended before the job did", "57P02",
					   hint))
		remove_remains(id);
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

/*
 * Fail a job whose role could not be connected as, and say why. A recreated
 * role of the same name has another oid, a renamed one another name.
 */
static bool
refuse_requester(int64 id, Oid requester, const char *name)
{
	char *current = GetUserNameFromId(requester, true);

	if (current == NULL || strcmp(current, name) != 0)
	{
		if (record_failure(
				id, psprintf("role \"%s\", which asked for this job, no longer exists", name),
				"42704", "Ask for the job again as an existing role."))
			remove_remains(id);
		return true;
	}
	if (object_aclcheck(DatabaseRelationId, MyDatabaseId, requester, ACL_CONNECT) != ACLCHECK_OK)
	{
		if (record_failure(
				id,
				psprintf("role \"%s\", which asked for this job, may not connect to the database",
						 name),
				"42501", "Grant it CONNECT on the database."))
			remove_remains(id);
		return true;
	}
	return false;
}

/* Tell the waiting jobs what they wait for, but those whose role has locked them. */
static void
record_waiting(void)
{
	owner_execute(
		"update steep_repl.work_queue u set status_detail = steep_repl._waiting_reason(u.operation) "
		"where u.id = any (array(select w.id from steep_repl.work_queue w where w.status = 'pending' and " MINE
		"  and w.status_detail is distinct from steep_repl._waiting_reason(w.operation) for update skip locked))",
		1, (Oid[]){OIDOID}, (Datum[]){ObjectIdGetDatum(MyDatabaseId)}, NULL);
}

typedef enum ClaimResult
{
	CLAIM_NONE,    /* nothing is pending */
	CLAIM_DONE,    /* one job was admitted, or failed */
	CLAIM_BLOCKED, /* there are jobs, but no slots */
} ClaimResult;

static JobKind
job_kind(const char *operation)
{
	return strcmp(operation, "overlap") == 0               ? JOB_OVERLAP
		   : strcmp(operation, "bidirectional_merge") == 0 ? JOB_MERGE
		   : strcmp(operation, "merge_undo") == 0          ? JOB_MERGE
		   : strcmp(operation, "snapshot_apply") == 0      ? JOB_APPLY
														   : JOB_SNAPSHOT;
}

/* Copy what a coordinator needs to know, before the slot is handed over. */
static void
fill_slot(SteepJob *job, int64 id)
{
	owner_execute(
		"select coalesce(w.snapshot_id, w.merge_id, w.overlap_id, ''), d.token, d.path, w.operation "
		"from steep_repl.work_queue w join steep_repl._job_directories d on d.operation_id = w.id "
		"where w.id = $1",
		1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(id)}, NULL);
	if (SPI_processed == 1)
	{
		strlcpy(job->object_id, owner_text(0, 1), sizeof(job->object_id));
		strlcpy(job->token, owner_text(0, 2), sizeof(job->token));
		strlcpy(job->path, owner_text(0, 3), sizeof(job->path));
		job->kind = job_kind(owner_text(0, 4));
	}
}

/*
 * Find and lock the job that is next, which is then SPI's row. First those of
 * roles of whom the fewest jobs run, then of who was served longest ago: one
 * role's queue of jobs, whether they run for long or fail at once, is not in the
 * way of others. Roles are sorted and not their jobs, of which there may be a
 * hundred thousand; the inner query can only be run for one role after the other.
 */
static bool
find_next(void)
{
	static const char *const sql =
		"select w.id, w.requested_by_oid, w.requested_by, w.operation "
		"from (select w.requested_by_oid as requester from steep_repl.work_queue w "
		"      where w.status = 'pending' and " MINE "group by w.requested_by_oid "
		"      order by cardinality(array_positions($2::oid[], w.requested_by_oid)), "
		"        coalesce(array_position($3::oid[], w.requested_by_oid), 0), min(w.created_at)) r "
		"cross join lateral (select w.* from steep_repl.work_queue w "
		"      where w.status = 'pending' and w.requested_by_oid = r.requester and " MINE
		"      order by w.created_at, w.id limit 1 for update skip locked) w limit 1";

	return owner_execute(sql, 3, (Oid[]){OIDOID, OIDARRAYOID, OIDARRAYOID},
						 (Datum[]){ObjectIdGetDatum(MyDatabaseId), PointerGetDatum(turns_running()),
								   PointerGetDatum(turns_served())},
						 NULL) == 1;
}

/* Say in its rows that a job runs, whose slot is reserved. */
static void
mark_claimed(int64 id)
{
	fill_slot(reserved, id);
	owner_execute(
		"update steep_repl.work_queue set status = 'running', status_detail = null, started_at = clock_timestamp(), "
		"  attempts = attempts + 1 where id = $1",
		1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(id)}, NULL);
	job_rows_start(id);
}

/* Claim the next pending job, in one transaction. */
static ClaimResult
claim_next(void)
{
	OwnerSession session;
	ClaimResult result = CLAIM_DONE;
	bool isnull;
	int64 id;
	Oid requester;
	char *operation;

	owner_begin_transaction(&session);
	if (!find_next())
	{
		owner_commit_transaction(&session);
		return CLAIM_NONE;
	}
	id = DatumGetInt64(owner_value(0, 1, &isnull));
	requester = DatumGetObjectId(owner_value(0, 2, &isnull));
	operation = owner_text(0, 4);

	if (refuse_requester(id, requester, owner_text(0, 3)))
		turn_note(requester);
	else if ((reserved = job_reserve(id, MyDatabaseId, requester, job_workers_needed(operation))) ==
			 NULL)
	{
		record_waiting();
		result = CLAIM_BLOCKED;
	}
	else
	{
		turn_note(requester);
		mark_claimed(id);
	}
	owner_commit_transaction(&session);
	if (reserved != NULL)
	{
		/* Only now: a coordinator must find the row committed. */
		job_set_state(reserved, JOB_ADMITTED);
		reserved = NULL;
		launcher_set_latch();
	}
	return result;
}

/* Whether some job was passed over because its row was locked. */
static bool
passed_over_jobs(void)
{
	OwnerSession session;
	bool result = false;
	uint64 n;

	owner_begin_transaction(&session);
	n = owner_execute(
		"select w.id, w.status from steep_repl.work_queue w where w.status in ('pending', 'running') and " MINE,
		1, (Oid[]){OIDOID}, (Datum[]){ObjectIdGetDatum(MyDatabaseId)}, NULL);
	for (uint64 i = 0; i < n && !result; i++)
	{
		bool isnull;

		result = strcmp(owner_text(i, 2), "pending") == 0 ||
				 job_find(DatumGetInt64(owner_value(i, 1, &isnull)), MyDatabaseId) == NULL;
	}
	owner_commit_transaction(&session);
	return result;
}

/* One that fails, on a lock say, must not leave its jobs to chance: look again later. */
static void
at_exit(int code, Datum arg)
{
	if (reserved != NULL)
		(void) job_release(reserved);
	dispatchers_count(-1);
	if (code != 0)
		launcher_wake(MyDatabaseId, true);
}

void
steep_repl_dispatcher_main(Datum arg)
{
	Oid database = worker_database();
	ClaimResult result = CLAIM_NONE;
	bool installed;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	dispatchers_count(+1);
	before_shmem_exit(at_exit, (Datum) 0);
	worker_pin_settings();
	SetConfigOption("application_name", "steep_repl dispatcher", PGC_SUSET, PGC_S_OVERRIDE);

	StartTransactionCommand();
	installed = extension_is_installed();
	CommitTransactionCommand();
	if (!installed)
		return;

	recover_jobs();
	forget_orphaned_secrets();
	do
	{
		CHECK_FOR_INTERRUPTS();
		result = claim_next();
	} while (result == CLAIM_DONE);
	if (result == CLAIM_BLOCKED || passed_over_jobs())
		launcher_wake(MyDatabaseId, true);
}
