/*
 * lock_watch.c
 *	  Who stands in the way of reading a table, from the lock manager's tables:
 *	  a lock timeout alone tells neither the table nor the session.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "snapshot/lock_watch.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

static bool
is_on_table(const LockInstanceData *lock, Oid relid)
{
	return lock->locktag.locktag_type == LOCKTAG_RELATION &&
		   lock->locktag.locktag_field1 == MyDatabaseId && lock->locktag.locktag_field2 == relid;
}

/* The sessions that hold a table, or wait for it, in the one mode that bars reading. */
char *
lock_watch_blockers(Oid relid)
{
	LockData *locks = GetLockStatusData();
	StringInfoData pids;

	initStringInfo(&pids);
	for (int i = 0; i < locks->nelements; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];
		bool holds = (lock->holdMask & LOCKBIT_ON(AccessExclusiveLock)) != 0;

		if (is_on_table(lock, relid) && (holds || lock->waitLockMode == AccessExclusiveLock))
			appendStringInfo(&pids, "%sprocess %d %s it in ACCESS EXCLUSIVE mode",
							 pids.len > 0 ? ", " : "", lock->pid, holds ? "holds" : "waits for");
	}
	return pids.len > 0 ? pids.data : pstrdup("no session bars it any more");
}

/* Whether a process is a session with this application_name. */
static bool
has_application_name(int pid, const char *application_name)
{
	int n = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(i);

		if (local->backendStatus.st_procpid == pid)
			return strcmp(local->backendStatus.st_appname, application_name) == 0;
	}
	return false;
}

/* "waiting for a lock on table …" with who bars it, in a transaction of its own. */
static char *
describe_table(Oid relid)
{
	MemoryContext context = CurrentMemoryContext;
	char *schema;
	char *name;
	char *result;

	StartTransactionCommand();
	schema = get_namespace_name(get_rel_namespace(relid));
	name = get_rel_name(relid);
	result =
		MemoryContextStrdup(context, psprintf("waiting for a lock on table %s: %s",
											  name ? quote_qualified_identifier(schema, name) : "?",
											  lock_watch_blockers(relid)));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}

/*
 * The table that the session of this name waits for, and who bars it; NULL if
 * it waits for none. Outside of a transaction.
 */
char *
lock_watch_describe(const char *application_name)
{
	LockData *locks = GetLockStatusData();
	char *result = NULL;

	pgstat_clear_backend_activity_snapshot();
	for (int i = 0; i < locks->nelements && result == NULL; i++)
	{
		const LockInstanceData *lock = &locks->locks[i];

		if (lock->waitLockMode == AccessShareLock &&
			is_on_table(lock, lock->locktag.locktag_field2) &&
			has_application_name(lock->pid, application_name))
			result = describe_table(lock->locktag.locktag_field2);
	}
	pfree(locks->locks);
	pfree(locks);
	pgstat_clear_backend_activity_snapshot();
	return result;
}
