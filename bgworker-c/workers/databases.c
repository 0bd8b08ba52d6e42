/*
 * databases.c
 *	  The databases that the launcher has to look into, and their dispatchers.
 */
#include "workers/databases.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "jobs/worker.h"
#include "postmaster/bgworker.h"
#include "base/settings.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/wait_event.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Dispatchers at once: after a restart each database needs one. */
#define MAX_DISPATCHERS 2

/* How long a dispatcher may wait for a lock while other databases wait for it. */
#define DISPATCHER_MS 1000

/* The class in wait_event_info. */
#define WAIT_EVENT_CLASS 0xFF000000U

/* A database to look into; lives in TopMemoryContext. */
typedef struct Database
{
	Oid oid;
	bool wanted;                        /* has news, or had to wait for a worker slot */
	TimestampTz not_before;             /* when wanted */
	BackgroundWorkerHandle *dispatcher; /* NULL = none runs */
	TimestampTz started;                /* when that was */
} Database;

static List *databases = NIL;

/* The entry for a database, made if need be, marked as having news. */
void
databases_want(Oid oid, TimestampTz when)
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
void
databases_want_all(void)
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
			databases_want(form->oid, 0);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* Jobs that waited for worker slots may fit now. */
void
databases_retry_now(void)
{
	ListCell *lc;

	foreach (lc, databases)
		((Database *) lfirst(lc))->not_before = 0;
}

/* Forget dispatchers that are gone. */
void
databases_reap(void)
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

/* Whether a dispatcher waits for a lock, and has had its time. */
static bool
is_stuck(const Database *database, TimestampTz now)
{
	pid_t pid;
	PGPROC *proc;

	if (database->dispatcher == NULL ||
		!TimestampDifferenceExceeds(database->started, now, DISPATCHER_MS) ||
		GetBackgroundWorkerPid(database->dispatcher, &pid) != BGWH_STARTED)
		return false;
	proc = BackendPidGetProc(pid);
	return proc != NULL && (proc->wait_event_info & WAIT_EVENT_CLASS) == PG_WAIT_LOCK;
}

/*
 * Others' databases must not wait for one whose owner, or a role there, holds a
 * lock that its dispatcher wants: that one is looked into again later.
 */
static void
end_stuck_dispatchers(TimestampTz now)
{
	ListCell *lc;

	foreach (lc, databases)
	{
		Database *database = lfirst(lc);

		if (!is_stuck(database, now))
			continue;
		TerminateBackgroundWorker(database->dispatcher);
		databases_want(database->oid, TimestampTzPlusMilliseconds(now, steep_poll_interval));
	}
}

/*
 * Start a dispatcher in each database that is due. The list is a queue: else of
 * three databases whose jobs wait for slots the last one would never get any.
 */
void
databases_start_dispatchers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Database *database;

	if (dispatchers_running() >= MAX_DISPATCHERS && due_database(now) != NULL)
		end_stuck_dispatchers(now);
	while (dispatchers_running() < MAX_DISPATCHERS && (database = due_database(now)) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		databases = lappend(list_delete_ptr(databases, database), database);
		MemoryContextSwitchTo(old);
		database->dispatcher = worker_register(WORKER_DISPATCHER, -1, 0, database->oid);
		database->started = now;
		if (database->dispatcher != NULL)
			database->wanted = false;
		else
			database->not_before = TimestampTzPlusMilliseconds(now, LAUNCHER_RETRY_MS);
	}
}

/* How long until a dispatcher is to be started; -1 = none is. */
long
databases_sleep_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long result = -1;
	ListCell *lc;

	/* one that is stuck wakes nobody */
	if (dispatchers_running() >= MAX_DISPATCHERS)
		return due_database(now) != NULL ? DISPATCHER_MS : -1;
	foreach (lc, databases)
	{
		Database *database = lfirst(lc);

		if (database->wanted && database->dispatcher == NULL)
		{
			long ms = TimestampDifferenceMilliseconds(now, database->not_before);

			ms = Max(ms, 1);
			result = result < 0 ? ms : Min(result, ms);
		}
	}
	return result;
}
