/*
 * dispatcher.c
 *	  A short-lived worker in one database: has jobs recovered that a crash left
 *	  behind, and claims pending jobs for which there are slots.
 *
 * It touches no path that a user has chosen, and so waits for no disk.
 *
 * It asks and writes as the extension's owner (sql/jobs/dispatch.sql), and
 * trusts of a row only what the guards keep users from writing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
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
		   : strcmp(operation, "pair") == 0                ? JOB_PAIR
		   : strcmp(operation, "snapshot_apply") == 0      ? JOB_APPLY
		   : strcmp(operation, "snapshot_fetch") == 0      ? JOB_FETCH
														   : JOB_SNAPSHOT;
}

/* Say in its rows that a job runs, whose slot is reserved, and fill the slot, before it is handed over. */
static void
mark_claimed(int64 id)
{
	owner_execute("select * from steep_repl._job_started($1)", SQL_ARGS(arg_int8(id)));
	strlcpy(reserved->object_id, owner_text(0, 1), sizeof(reserved->object_id));
	strlcpy(reserved->token, owner_text(0, 2), sizeof(reserved->token));
	strlcpy(reserved->path, owner_text(0, 3), sizeof(reserved->path));
	reserved->kind = job_kind(owner_text(0, 4));
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
	if (owner_execute("select * from steep_repl._next_job($1, $2)",
					  SQL_ARGS(arg_datum(OIDARRAYOID, PointerGetDatum(turns_running())),
							   arg_datum(OIDARRAYOID, PointerGetDatum(turns_served())))) == 0)
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
		owner_execute("select steep_repl._jobs_wait()", NO_ARGS);
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
	n = owner_execute("select * from steep_repl._unfinished_jobs()", NO_ARGS);
	for (uint64 i = 0; i < n && !result; i++)
	{
		bool isnull;

		result = DatumGetBool(owner_value(i, 2, &isnull)) ||
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
