/*
 * worker.c
 *	  What the dynamic workers have in common.
 */
#include "jobs/worker.h"

#include "access/xact.h"
#include "catalog/pg_parameter_acl.h"
#include "jobs/engine_signals.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "postmaster/interrupt.h"
#include "base/settings.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Travels in bgw_extra. */
typedef struct WorkerArguments
{
	Oid database; /* dispatcher and remover only */
	int slot;     /* of steep_shared->jobs */
	WorkerKind kind;
	int number; /* of a copier, applier or fetcher */
	uint64 generation;
} WorkerArguments;

StaticAssertDecl(sizeof(WorkerArguments) <= BGW_EXTRALEN, "worker arguments must fit");

static const char *const worker_names[] = {
	[WORKER_DISPATCHER] = "dispatcher", [WORKER_COORDINATOR] = "coordinator",
	[WORKER_HOLDER] = "holder",         [WORKER_COPIER] = "copier",
	[WORKER_APPLIER] = "applier",       [WORKER_FETCHER] = "fetcher",
	[WORKER_REMOVER] = "remover",
};

/*
 * Settings that a role or a database may carry and that would end a worker,
 * or change what it writes. Set above every other source.
 */
static const char *const pinned_settings[][2] = {
	{"role", "none"},
	{"transaction_timeout", "0"},
	{"statement_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"exit_on_error", "off"},
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_deferrable", "off"},
	{"session_replication_role", "origin"},
	{"synchronous_commit", "local"},
	{"row_security", "off"},
	{"search_path", "pg_catalog, pg_temp"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "3"},
	{"lc_monetary", "C"},
	{"array_nulls", "on"},
	{"transform_null_equals", "off"},
	{"gin_fuzzy_search_limit", "0"},
	{"default_table_access_method", "heap"},
	{"quote_all_identifiers", "off"},
	{"bytea_output", "hex"},
	{"xmloption", "content"},
	{"synchronize_seqscans", "off"},
	{"max_parallel_workers_per_gather", "0"},
	{"debug_parallel_query", "off"},
	{"pljs.start_proc", ""},
	{"plv8.start_proc", ""},
};

static WorkerArguments arguments;

/* Register a dynamic worker; NULL if there is no free slot. */
BackgroundWorkerHandle *
worker_register(WorkerKind kind, int slot, int number, Oid database)
{
	BackgroundWorker worker = {0};
	WorkerArguments extra = {0};
	BackgroundWorkerHandle *handle;
	MemoryContext old;
	bool ok;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	snprintf(worker.bgw_name, BGW_MAXLEN, "steep_repl %s", worker_names[kind]);
	strlcpy(worker.bgw_type, "background worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, STEEP_NAME, MAXPGPATH);
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "steep_repl_%s_main", worker_names[kind]);

	extra.database = database;
	extra.slot = slot;
	extra.kind = kind;
	extra.number = number;
	if (slot >= 0)
		extra.generation = steep_shared->jobs[slot].generation;
	memcpy(worker.bgw_extra, &extra, sizeof(extra));

	/* The handle outlives transactions. */
	old = MemoryContextSwitchTo(TopMemoryContext);
	ok = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(old);
	return ok ? handle : NULL;
}

Oid
worker_database(void)
{
	memcpy(&arguments, MyBgworkerEntry->bgw_extra, sizeof(arguments));
	return arguments.database;
}

int
worker_number(void)
{
	return arguments.number;
}

/* Override what a role or database setting could have broken. */
void
worker_pin_settings(void)
{
	char lock_timeout[32];

	for (size_t i = 0; i < lengthof(pinned_settings); i++)
		SetConfigOption(pinned_settings[i][0], pinned_settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_SUSET, PGC_S_OVERRIDE);
	snprintf(lock_timeout, sizeof(lock_timeout), "%d", steep_lock_timeout);
	SetConfigOption("lock_timeout", lock_timeout, PGC_SUSET, PGC_S_OVERRIDE);
}

/* Become a process of the job that this worker was registered for. */
static bool
attach(SteepJob *job)
{
	switch (arguments.kind)
	{
		case WORKER_COORDINATOR:
			return job_attach(job, arguments.generation, &job->coordinator_pid,
							  &job->coordinator_procno);
		case WORKER_HOLDER:
			return job_attach(job, arguments.generation, &job->holder_pid, &job->holder_procno);
		case WORKER_COPIER:
		case WORKER_APPLIER:
		case WORKER_FETCHER:
			return job_attach(job, arguments.generation, &job->copier_pids[arguments.number], NULL);
		case WORKER_DISPATCHER:
		case WORKER_REMOVER:
			break;
	}
	return false;
}

/* Before other people's code can: it must not take the signals. */
static void
load_engine(void)
{
	StartTransactionCommand();
	engine_load();
	CommitTransactionCommand();
}

/*
 * Begin as a worker of a job: find the job, connect to its database as the
 * role that asked for it, pin settings. The role may be NOLOGIN, but never
 * anybody else: rights are those of the requester from the first query on.
 * A cancel request that comes before is obeyed by who can say so in the row.
 */
SteepJob *
worker_start(const char *title)
{
	SteepJob *job;

	memcpy(&arguments, MyBgworkerEntry->bgw_extra, sizeof(arguments));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	job = &steep_shared->jobs[arguments.slot];
	HOLD_CANCEL_INTERRUPTS();
	if (!attach(job))
		proc_exit(0); /* the job ended before we came up */

	BackgroundWorkerInitializeConnectionByOid(job->database, job->requester,
											  BGWORKER_BYPASS_ROLELOGINCHECK);
	RESUME_CANCEL_INTERRUPTS();
	worker_pin_settings();
	owner_wait_for_locks();
	SetConfigOption("application_name", psprintf("steep_repl %s %s", job->object_id, title),
					PGC_SUSET, PGC_S_OVERRIDE);
	/* The others run no code but the server's and ours. */
	if (arguments.kind == WORKER_COORDINATOR || arguments.kind == WORKER_APPLIER)
		load_engine();
	return job;
}

/* Begin a transaction that sees exactly what the holder exported. */
void
worker_begin_with_snapshot(const char *snapshot_name)
{
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	ImportSnapshot(snapshot_name);
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * Run a helper's work. Its error goes to the coordinator, which reports it
 * once for the job; the helper itself ends quietly.
 */
void
worker_run_helper(SteepJob *job, void (*body)(SteepJob *job))
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		body(job);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		job_report_error(job, CopyErrorData());
		FlushErrorState();
		AbortOutOfAnyTransaction();
		job_wake_coordinator(job);
		proc_exit(0);
	}
	PG_END_TRY();
	job_wake_coordinator(job);
}

bool
worker_is_cancelled(SteepJob *job)
{
	bool result;

	SpinLockAcquire(&job->mutex);
	result = job->cancel_requested;
	SpinLockRelease(&job->mutex);
	return result;
}

/* In a wait: obey a cancel request that came while no query ran. */
void
worker_check_cancel(SteepJob *job)
{
	CHECK_FOR_INTERRUPTS();
	if (worker_is_cancelled(job))
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the operation was cancelled")));
}

/* Whether rows may be written without their triggers and foreign keys firing. */
bool
worker_may_skip_triggers(void)
{
	return pg_parameter_aclcheck("session_replication_role", GetUserId(), ACL_SET) == ACLCHECK_OK;
}
