/*
 * dispatcher.c
 *	  A short-lived worker in one database: has jobs recovered that a crash left
 *	  behind, and claims pending jobs for which there are slots.
 *
 * It touches no path that a user has chosen, and so waits for no disk.
 *
 * It runs fixed statements as the extension's owner, and trusts of a row only
 * what the guards keep users from writing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "catalog/pg_type.h"
#include "jobs/job_rows.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "postmaster/interrupt.h"
#include "workers/recovery.h"
#include "workers/remover.h"
#include "jobs/shared_state.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "jobs/worker.h"

/* The jobs of this cluster and this database. */
#define MINE "w.system_identifier = steep_repl._system_identifier() and w.database_oid = $1 "

/* What this process has reserved and not yet handed over. */
static SteepJob *reserved = NULL;

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
		recovery_fail_job(id,
						  psprintf("role \"%s\", which asked for this job, no longer exists", name),
						  "42704", "Ask for the job again as an existing role.");
		return true;
	}
	if (object_aclcheck(DatabaseRelationId, MyDatabaseId, requester, ACL_CONNECT) != ACLCHECK_OK)
	{
		recovery_fail_job(
			id,
			psprintf("role \"%s\", which asked for this job, may not connect to the database",
					 name),
			"42501", "Grant it CONNECT on the database.");
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
	bool has_remains;

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

	recovery_run();
	do
	{
		CHECK_FOR_INTERRUPTS();
		result = claim_next();
	} while (result == CLAIM_DONE);
	has_remains = remover_start();
	if (result == CLAIM_BLOCKED || has_remains || passed_over_jobs())
		launcher_wake(MyDatabaseId, true);
}
