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
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Dispatchers at once: after a restart each database needs one. */
#define MAX_DISPATCHERS 2

/* A database to look into; lives in TopMemoryContext. */
typedef struct Database
{
	Oid oid;
	bool wanted;                        /* has news, or had to wait for a worker slot */
	TimestampTz not_before;             /* when wanted */
	BackgroundWorkerHandle *dispatcher; /* NULL = none runs */
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

/*
 * Start a dispatcher in each database that is due. The list is a queue: else of
 * three databases whose jobs wait for slots the last one would never get any.
 */
void
databases_start_dispatchers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	Database *database;

	while (dispatchers_running() < MAX_DISPATCHERS && (database = due_database(now)) != NULL)
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

/* How long until a dispatcher is to be started; -1 = none is. */
long
databases_sleep_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long result = -1;
	ListCell *lc;

	if (dispatchers_running() >= MAX_DISPATCHERS)
		return -1;
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
