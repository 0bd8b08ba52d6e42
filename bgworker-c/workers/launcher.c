/*
 * launcher.c
 *	  The one static worker: starts a dispatcher in each database with waiting
 *	  jobs and a coordinator for each admitted job. It is connected to no
 *	  database, so it never stands in the way of DROP DATABASE.
 */
#include "base/settings.h"
#include "workers/launcher.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "jobs/shared_state.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "jobs/worker.h"
#include "workers/databases.h"

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
		databases_want(waiting[i].oid, waiting[i].blocked ? later : 0);
	if (everywhere)
		databases_want_all();
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
			databases_want(database, 0);

		/* Jobs that waited for worker slots may fit now. */
		databases_retry_now();
	}
}

/*
 * How long to sleep: for ever when nothing waits for a time. A dispatcher or
 * coordinator that ends, and a helper whose coordinator is gone, wakes us.
 */
static long
sleep_ms(void)
{
	long result = databases_sleep_ms();

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
		databases_reap();
		start_coordinators();
		databases_start_dispatchers();

		timeout = sleep_ms();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, wait_event);
		ResetLatch(MyLatch);
	}
}
