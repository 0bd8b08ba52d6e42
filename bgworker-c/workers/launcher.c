/*
 * launcher.c
 *	  The one static worker: starts a dispatcher in each database with waiting
 *	  jobs and a coordinator for each admitted job. It is connected to no
 *	  database, so it never stands in the way of DROP DATABASE.
 */
#include "base/settings.h"
#include "workers/launcher.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "jobs/shared_state.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "jobs/worker.h"

/* A worker that cannot start is tried again after this many ms. */
#define LAUNCHER_RETRY_MS 500

/* Dispatchers at once: after a restart each database needs one. */
#define LAUNCHER_MAX_DISPATCHERS 2

/* A database to look into; lives in TopMemoryContext. */
typedef struct Database
{
	Oid oid;
	bool wanted;                        /* has news, or had to wait for a worker slot */
	TimestampTz not_before;             /* when wanted */
	BackgroundWorkerHandle *dispatcher; /* NULL = none runs */
} Database;

static List *databases = NIL;
static BackgroundWorkerHandle *coordinators[STEEP_MAX_JOBS];
static uint32 wait_event = 0;

/* Register the launcher with the postmaster. */
void
launcher_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* Not on a standby: nothing can be claimed there. */
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_name, "steep_repl launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "background worker", BGW_MAXLEN);
	strlcpy(worker.bgw_library_name, STEEP_NAME, MAXPGPATH);
	strlcpy(worker.bgw_function_name, "steep_repl_launcher_main", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

static void
forget_launcher(int code, Datum arg)
{
	SpinLockAcquire(&steep_shared->mutex);
	steep_shared->launcher_pid = 0;
	SpinLockRelease(&steep_shared->mutex);
}

/* The entry for a database, made if need be, marked as having news. */
static void
want_database(Oid oid, TimestampTz when)
{
	MemoryContext old;
	Database *database = NULL;
	ListCell *lc;

	foreach (lc, databases)
		if (((Database *) lfirst(lc))->oid == oid)
			database = lfirst(lc);

	if (database == NULL)
	{
		old = MemoryContextSwitchTo(TopMemoryContext);
		database = palloc0_object(Database);
		database->oid = oid;
		databases = lappend(databases, database);
		MemoryContextSwitchTo(old);
	}
	if (!database->wanted || database->not_before > when)
		database->not_before = when;
	database->wanted = true;
}

/* Want every database that accepts connections. */
static void
want_all_databases(void)
{
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datallowconn && !database_is_invalid_form(form))
			want_database(form->oid, 0);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Take what sessions left in the mailbox. */
static void
read_mailbox(void)
{
	WaitingDatabase waiting[STEEP_MAX_DATABASES];
	TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), steep_poll_interval);
	int n;
	bool everywhere;

	SpinLockAcquire(&steep_shared->mutex);
	n = steep_shared->n_databases;
	memcpy(waiting, steep_shared->databases, n * sizeof(WaitingDatabase));
	everywhere = steep_shared->look_everywhere;
	steep_shared->n_databases = 0;
	steep_shared->look_everywhere = false;
	SpinLockRelease(&steep_shared->mutex);

	for (int i = 0; i < n; i++)
		want_database(waiting[i].oid, waiting[i].blocked ? later : 0);
	if (everywhere)
		want_all_databases();
}

/* Start a coordinator for each admitted job. Before it can be there, the slot says so. */
static void
start_coordinators(void)
{
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
	{
		SteepJob *job = &steep_shared->jobs[i];

		if (job->state != JOB_ADMITTED || coordinators[i] != NULL)
			continue;
		job_set_state(job, JOB_STARTED);
		coordinators[i] = worker_register(WORKER_COORDINATOR, i, 0, InvalidOid);
		if (coordinators[i] == NULL)
			job_set_state(job, JOB_ADMITTED);
	}
}

/*
 * Of a launcher that was restarted, and so has no handles: what became of a
 * coordinator that was registered cannot be asked, so another one is.
 */
static void
adopt_jobs(void)
{
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		job_readmit(&steep_shared->jobs[i]);
}

/* Whether a job's coordinator is gone, or died before it came. */
static bool
coordinator_is_gone(int i)
{
	pid_t pid;

	if (coordinators[i] != NULL)
		return GetBackgroundWorkerPid(coordinators[i], &pid) == BGWH_STOPPED;
	return job_is_abandoned(&steep_shared->jobs[i]);
}

/*
 * Free the slots of coordinators that are gone, when their helpers are, too. If
 * one did not get to say how its job ended, a dispatcher must: it finds a running
 * row without a slot.
 */
static void
reap_coordinators(void)
{
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
	{
		SteepJob *job = &steep_shared->jobs[i];
		bool has_ended;
		Oid database;
		ListCell *lc;

		if (!coordinator_is_gone(i))
			continue;
		has_ended = job->state == JOB_ENDED;
		database = job->database;
		if (coordinators[i] != NULL)
			pfree(coordinators[i]);
		coordinators[i] = NULL;
		job_end_helpers(job, SIGTERM);
		if (!job_release(job))
			continue; /* the last helper will wake us */
		if (!has_ended)
			want_database(database, 0);

		/* Jobs that waited for worker slots may fit now. */
		foreach (lc, databases)
			((Database *) lfirst(lc))->not_before = 0;
	}
}

/* Forget dispatchers that are gone. */
static void
reap_dispatchers(void)
{
	ListCell *lc;

	foreach (lc, databases)
	{
		Database *database = lfirst(lc);
		pid_t pid;

		if (database->dispatcher != NULL &&
			GetBackgroundWorkerPid(database->dispatcher, &pid) == BGWH_STOPPED)
		{
			pfree(database->dispatcher);
			database->dispatcher = NULL;
		}
		if (database->dispatcher == NULL && !database->wanted)
		{
			databases = foreach_delete_current(databases, lc);
			pfree(database);
		}
	}
}

static int
dispatchers_running(void)
{
	int running = 0;
	ListCell *lc;

	foreach (lc, databases)
		running += ((Database *) lfirst(lc))->dispatcher != NULL;
	return running;
}

/* The first database that is due, or NULL. */
static Database *
due_database(TimestampTz now)
{
	ListCell *lc;

	foreach (lc, databases)
	{
		Database *database = lfirst(lc);

		if (database->wanted && database->dispatcher == NULL && database->not_before <= now)
			return database;
	}
	return NULL;
}

/*
 * Start a dispatcher in each database that is due. The list is a queue: else of
 * three databases whose jobs wait for slots the last one would never get any.
 */
static void
start_dispatchers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Database *database;

	while (dispatchers_running() < LAUNCHER_MAX_DISPATCHERS &&
		   (database = due_database(now)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		databases = lappend(list_delete_ptr(databases, database), database);
		MemoryContextSwitchTo(old);
		database->dispatcher = worker_register(WORKER_DISPATCHER, -1, 0, database->oid);
		if (database->dispatcher != NULL)
			database->wanted = false;
		else
			database->not_before = TimestampTzPlusMilliseconds(now, LAUNCHER_RETRY_MS);
	}
}

/*
 * How long to sleep: for ever when nothing waits for a time. A dispatcher or
 * coordinator that ends, and a helper whose coordinator is gone, wakes us.
 */
static long
sleep_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool may_start = dispatchers_running() < LAUNCHER_MAX_DISPATCHERS;
	long result = -1;
	ListCell *lc;

	foreach (lc, databases)
	{
		Database *database = lfirst(lc);

		if (may_start && database->wanted && database->dispatcher == NULL)
		{
			long ms = TimestampDifferenceMilliseconds(now, database->not_before);

			ms = Max(ms, 1);
			result = result < 0 ? ms : Min(result, ms);
		}
	}
	/* A coordinator that found no slot. */
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		if (steep_shared->jobs[i].state == JOB_ADMITTED)
			result = result < 0 ? LAUNCHER_RETRY_MS : Min(result, LAUNCHER_RETRY_MS);
	return result;
}

/* Announce ourselves, then serve until the server stops. */
void
steep_repl_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	SetConfigOption("application_name", "steep_repl launcher", PGC_USERSET, PGC_S_SESSION);
	wait_event = WaitEventExtensionNew("SteepReplLauncherMain");

	before_shmem_exit(forget_launcher, (Datum) 0);
	SpinLockAcquire(&steep_shared->mutex);
	steep_shared->launcher_pid = MyProcPid;
	steep_shared->launcher_procno = MyProcNumber;
	/* Also after a restart of this process alone: its handles are lost. */
	steep_shared->look_everywhere = true;
	SpinLockRelease(&steep_shared->mutex);
	adopt_jobs();

	for (;;)
	{
		long timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		read_mailbox();
		reap_coordinators();
		reap_dispatchers();
		start_coordinators();
		start_dispatchers();

		timeout = sleep_ms();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, wait_event);
		ResetLatch(MyLatch);
	}
}
