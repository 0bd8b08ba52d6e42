/*
 * remover.c
 *	  The worker that removes the files of jobs that were lost.
 *
 * Files lie where their requester wanted them. A file system that does not
 * answer keeps whoever touches it in the kernel, deaf to any signal: so this is
 * done by a process for which nobody waits, and which has no transaction open
 * meanwhile. Dispatchers start it and look again later, as long as a private
 * row says that there is something to remove.
 */
#include "workers/remover.h"

#include "access/xact.h"
#include "jobs/job_remains.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/shared_state.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "jobs/worker.h"

/* This process' entry in shared memory. */
static Remover *my_place = NULL;

/* The entry of a database, or with InvalidOid a free one; NULL if there is none. Caller holds the lock. */
static Remover *
find_place(Oid database)
{
	for (int i = 0; i < STEEP_MAX_REMOVERS; i++)
		if (steep_shared->removers[i].database == database)
			return &steep_shared->removers[i];
	return NULL;
}

/* ---- its start ---- */

/* Whether there is neither a remover nor a lack of worker slots. */
static bool
may_start(void)
{
	bool result;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	result = find_place(MyDatabaseId) == NULL && find_place(InvalidOid) != NULL &&
			 workers_free() > workers_promised();
	LWLockRelease(steep_shared->lock);
	return result;
}

/*
 * Start a remover in the dispatcher's database if there is something to remove.
 * True if so, whether it could be started or not: it is to be looked at again.
 */
bool
remover_start(void)
{
	OwnerSession session;
	bool isnull;
	bool result;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._remains(false)", NO_ARGS);
	(void) owner_value(0, 1, &isnull);
	result = !isnull;
	owner_commit_transaction(&session);
	if (result && may_start())
		(void) worker_register(WORKER_REMOVER, -1, 0, MyDatabaseId);
	return result;
}

/* ---- its work ---- */

static void
leave(int code, Datum arg)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	my_place->path[0] = '\0';
	my_place->database = InvalidOid;
	LWLockRelease(steep_shared->lock);
}

/* Become the remover of a database; false if it has one, or there are too many. */
static bool
enter(Oid database)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	if (find_place(database) == NULL && (my_place = find_place(InvalidOid)) != NULL)
		my_place->database = database;
	LWLockRelease(steep_shared->lock);
	if (my_place != NULL)
		on_shmem_exit(leave, (Datum) 0);
	return my_place != NULL;
}

/* Begin with a path; false if a job, of which there may be another for the same one, is there. */
static bool
enter_path(const char *path)
{
	bool is_free;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	is_free = !job_makes_directory(path);
	if (is_free)
		strlcpy(my_place->path, path, MAXPGPATH);
	LWLockRelease(steep_shared->lock);
	return is_free;
}

static void
leave_path(void)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	my_place->path[0] = '\0';
	LWLockRelease(steep_shared->lock);
}

/*
 * Find what is next. The row is locked until the path is shown to others: who
 * retries the job, or drops the snapshot, either has the row or sees the path.
 */
static bool
find_next(JobRemains *remains)
{
	OwnerSession session;
	Datum id;
	bool isnull;
	bool found;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._remains(true)", NO_ARGS);
	id = owner_value(0, 1, &isnull);
	found = !isnull && job_remains_find(DatumGetInt64(id), remains) && enter_path(remains->path);
	owner_commit_transaction(&session);
	return found;
}

/* Write down that the files are gone, or are to stay. */
static void
record(int64 id, bool removed)
{
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._remains_removed($1, $2)",
				  SQL_ARGS(arg_int8(id), arg_bool(removed)));
	owner_commit_transaction(&session);
	leave_path();
}

static void
remove_files(const JobRemains *remains)
{
	int64 id = remains->mark.operation_id;
	bool removed = remains->path[0] == '\0' ||
				   directory_remove(remains->path, &remains->mark) != REMOVE_FAILED;

	if (!removed)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("steep_repl: could not remove the files of operation " INT64_FORMAT ": %m",
						id)));
	record(id, removed);
}

void
steep_repl_remover_main(Datum arg)
{
	Oid database = worker_database();
	JobRemains remains;
	bool installed;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (!enter(database))
		return;
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	worker_pin_settings();
	SetConfigOption("application_name", "steep_repl remover", PGC_SUSET, PGC_S_OVERRIDE);

	StartTransactionCommand();
	installed = extension_is_installed();
	CommitTransactionCommand();
	while (installed && find_next(&remains))
	{
		CHECK_FOR_INTERRUPTS();
		remove_files(&remains);
	}
}
