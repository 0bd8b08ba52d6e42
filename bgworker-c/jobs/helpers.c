/*
 * helpers.c
 *	  Starts, watches and ends a job's holder and copiers.
 */
#include "jobs/run.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "jobs/worker.h"

/* How long helpers may take to end after SIGTERM. */
#define HELPER_END_MS 5000

static BackgroundWorkerHandle *holder = NULL;
static BackgroundWorkerHandle *copiers[STEEP_MAX_COPIERS];
static int n_copiers = 0;
static uint32 wait_event_start = 0;

static int
slot_of(JobRun *run)
{
	return run->job - steep_shared->jobs;
}

static bool
is_stopped(BackgroundWorkerHandle *handle)
{
	pid_t pid;

	return handle == NULL || GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED;
}

/*
 * Raise a helper's error as the job's. A holder never ends by itself, and a
 * copier only when all chunks are taken: to end otherwise is an error too.
 */
void
helpers_check(JobRun *run)
{
	SteepJob *job = run->job;
	HelperError error;

	worker_check_cancel(job);
	if (job_has_error(job))
	{
		SpinLockAcquire(&job->mutex);
		error = job->error;
		SpinLockRelease(&job->mutex);
		ereport(ERROR, (errcode(error.sqlerrcode), errmsg_internal("%s", error.message),
						error.detail[0] ? errdetail_internal("%s", error.detail) : 0,
						error.hint[0] ? errhint("%s", error.hint) : 0,
						error.context[0] ? errcontext("%s", error.context) : 0));
	}
	if (holder != NULL && is_stopped(holder))
		ereport(ERROR, (errcode(ERRCODE_ADMIN_SHUTDOWN),
						errmsg("the worker that holds the snapshot was terminated")));
}

/* The holder's worker slot was promised when the job was admitted. */
void
helpers_start_holder(JobRun *run)
{
	SteepJob *job = run->job;

	if (wait_event_start == 0)
		wait_event_start = WaitEventExtensionNew("SteepReplStartWorker");
	SpinLockAcquire(&job->mutex);
	job->holder_state = HOLDER_STARTING;
	SpinLockRelease(&job->mutex);

	holder = worker_register(WORKER_HOLDER, slot_of(run), 0, InvalidOid);
	if (holder == NULL)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("no background worker slot is free for the snapshot holder"),
						errhint("Raise max_worker_processes.")));
	for (;;)
	{
		helpers_check(run);
		if (job_holder_state(job) == HOLDER_PINNED)
			break;
		run_wait(run, wait_event_start);
		if (job->slot_name[0] != '\0')
			run_set_waiting(run, describe_slot_blocker(run));
	}
	run_set_waiting(run, NULL);
}

/* Have the holder make its slot persistent. */
void
helpers_persist_slot(JobRun *run)
{
	SteepJob *job = run->job;

	job_move_holder(job, HOLDER_LOCKED, HOLDER_PERSIST_REQUESTED);
	SetLatch(&GetPGProcByNumber(job->holder_procno)->procLatch);
	while (job_holder_state(job) != HOLDER_PERSISTED)
		run_wait(run, wait_event_start);
}

/* Let the holder go by itself, which leaves no FATAL in the log. */
static void
release_holder(SteepJob *job)
{
	pid_t pid;

	SpinLockAcquire(&job->mutex);
	job->holder_state = HOLDER_RELEASED;
	pid = job->holder_pid;
	SpinLockRelease(&job->mutex);
	if (pid != 0)
		SetLatch(&GetPGProcByNumber(job->holder_procno)->procLatch);
}

/* End the holder, so that another can take a new snapshot. */
void
helpers_end_holder(JobRun *run)
{
	if (holder == NULL)
		return;
	release_holder(run->job);
	(void) WaitForBackgroundWorkerShutdown(holder);
	pfree(holder);
	holder = NULL;
	while (!job_promise_worker(run->job, true))
	{
		worker_check_cancel(run->job);
		run_set_waiting(run, "waiting for a background worker slot");
		run_wait(run, wait_event_start);
	}
}

/*
 * Start up to this many copiers, or appliers. The first one's slot was promised; more are
 * taken only where enough slots stay free for others.
 */
int
helpers_start_workers(JobRun *run, WorkerKind kind, int wanted)
{
	n_copiers = 0;
	while (n_copiers < wanted)
	{
		if (n_copiers > 0 && !job_promise_worker(run->job, false))
			break;
		copiers[n_copiers] = worker_register(kind, slot_of(run), n_copiers, InvalidOid);
		if (copiers[n_copiers] == NULL)
		{
			job_break_promise(run->job);
			break;
		}
		n_copiers++;
	}
	if (n_copiers == 0)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("no background worker slot is free for a copy worker"),
						errhint("Raise max_worker_processes.")));
	return n_copiers;
}

bool
helpers_copiers_are_done(JobRun *run)
{
	for (int i = 0; i < n_copiers; i++)
		if (!is_stopped(copiers[i]))
			return false;
	return true;
}

/* Whether one of those that were started has ended. */
bool
helpers_any_is_gone(JobRun *run)
{
	for (int i = 0; i < n_copiers; i++)
		if (is_stopped(copiers[i]))
			return true;
	return false;
}

/* End whatever still runs, and wait for it: only then are the files still. */
void
helpers_end_all(JobRun *run)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HELPER_END_MS);
	bool all_stopped = false;

	/* One that still begins, or waits for its slot, listens to nothing else. */
	if (holder != NULL && job_holder_state(run->job) == HOLDER_STARTING)
		TerminateBackgroundWorker(holder);
	release_holder(run->job);
	for (int i = 0; i < n_copiers; i++)
		TerminateBackgroundWorker(copiers[i]);

	while (!all_stopped && GetCurrentTimestamp() < deadline)
	{
		all_stopped = is_stopped(holder) && helpers_copiers_are_done(run);
		if (!all_stopped)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20,
							 wait_event_start);
			ResetLatch(MyLatch);
		}
	}
	if (!all_stopped)
		job_end_helpers(run->job, SIGTERM);
	holder = NULL;
	n_copiers = 0;
}
