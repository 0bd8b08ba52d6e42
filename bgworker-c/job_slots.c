/*
 * job_slots.c
 *	  The slots of running jobs in shared memory, and admission: which job may
 *	  start with the worker slots that there are.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "shared_state.h"
#include "steep_repl.h"
#include "storage/latch.h"
#include "storage/proc.h"

/* All counters at zero, for a slot that begins. */
void
job_init_counters(JobCounters *counters)
{
	pg_atomic_init_u64(&counters->bytes_total, 0);
	pg_atomic_init_u64(&counters->bytes_done, 0);
	pg_atomic_init_u64(&counters->raw_bytes, 0);
	pg_atomic_init_u64(&counters->stored_bytes, 0);
	pg_atomic_init_u64(&counters->rows, 0);
	pg_atomic_init_u32(&counters->tables_total, 0);
	pg_atomic_init_u32(&counters->tables_done, 0);
	pg_atomic_init_u32(&counters->items_total, 0);
	pg_atomic_init_u32(&counters->items_done, 0);
	pg_atomic_init_u32(&counters->tables_durable, 0);
}

/* ---- worker slots ---- */

/*
 * Background worker slots that no process uses. There is no call that tells:
 * count the process entries that are set aside for workers and have no pid.
 */
int
workers_free(void)
{
	int n = 0;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC *proc = GetPGProcByNumber(i);

		if (proc->procgloballist == &ProcGlobal->bgworkerFreeProcs && proc->pid == 0)
			n++;
	}
	return n;
}

/* Slots kept for admitted jobs whose workers have not started. Caller holds the lock. */
static int
workers_promised(void)
{
	int n = 0;

	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		if (steep_shared->jobs[i].state != JOB_FREE)
			n += steep_shared->jobs[i].promised_workers;
	return n;
}

/*
 * Keep one more worker slot for a job, if that leaves enough for others.
 * The promise ends when the worker starts (job_worker_started).
 */
bool
job_promise_worker(SteepJob *job)
{
	bool ok;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	ok = workers_free() - workers_promised() - 1 >= steep_reserved_worker_slots;
	if (ok)
		job->promised_workers++;
	LWLockRelease(steep_shared->lock);
	return ok;
}

/* A worker of the job runs, or could not be started: its slot is kept no longer. */
void
job_worker_started(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	Assert(job->promised_workers > 0);
	job->promised_workers--;
	LWLockRelease(steep_shared->lock);
}

/* ---- job slots ---- */

/* A dispatcher begins, or ends. */
void
dispatchers_count(int change)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	steep_shared->n_dispatchers += change;
	LWLockRelease(steep_shared->lock);
}

/*
 * Reserve a slot and worker slots for a job, or return NULL if they do not
 * fit. Called by a dispatcher: its own worker slot is about to be free, and so
 * are others' of its kind. Else two that began together would each find the
 * other in its way, and so again whenever they are started.
 */
SteepJob *
job_reserve(int64 id, Oid database, Oid requester)
{
	SteepJob *job = NULL;
	int left;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	left =
		workers_free() + steep_shared->n_dispatchers - workers_promised() - STEEP_WORKERS_PER_JOB;
	for (int i = 0; i < STEEP_MAX_JOBS && left >= steep_reserved_worker_slots; i++)
	{
		if (steep_shared->jobs[i].state != JOB_FREE)
			continue;
		job = &steep_shared->jobs[i];
		SpinLockAcquire(&job->mutex);
		memset((char *) job + offsetof(SteepJob, state), 0,
			   sizeof(SteepJob) - offsetof(SteepJob, state));
		SpinLockRelease(&job->mutex);
		job_init_counters(&job->counters);
		job->state = JOB_RESERVED;
		job->id = id;
		job->database = database;
		job->requester = requester;
		job->dispatcher_pid = MyProcPid;
		job->promised_workers = STEEP_WORKERS_PER_JOB;
		break;
	}
	LWLockRelease(steep_shared->lock);
	return job;
}

/* A coordinator works alone: the slots kept for helpers are for others. */
void
job_needs_no_helpers(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	job->promised_workers = 1;
	LWLockRelease(steep_shared->lock);
}

/* How many more jobs could run at once. */
int
job_slots_free(void)
{
	int n = 0;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		n += steep_shared->jobs[i].state == JOB_FREE;
	LWLockRelease(steep_shared->lock);
	return n;
}

void
job_set_state(SteepJob *job, JobState state)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	job->state = state;
	LWLockRelease(steep_shared->lock);
}

/* Give the slot back. The id goes too, so that no late request hits a successor. */
void
job_release(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	job->state = JOB_FREE;
	job->id = 0;
	job->promised_workers = 0;
	LWLockRelease(steep_shared->lock);
}

/* The slot of a living job, or NULL. */
SteepJob *
job_find(int64 id, Oid database)
{
	SteepJob *found = NULL;

	if (steep_shared == NULL)
		return NULL;
	LWLockAcquire(steep_shared->lock, LW_SHARED);
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
	{
		SteepJob *job = &steep_shared->jobs[i];

		if (job->state != JOB_FREE && job->id == id && job->database == database)
			found = job;
	}
	LWLockRelease(steep_shared->lock);
	return found;
}

/*
 * Ask a job to stop: a flag for the waits, SIGINT for what runs. False if the
 * slot has passed to another job, or the job has ended. The lock is held while
 * signalling so that the slot cannot be given to another job meanwhile.
 */
bool
job_request_cancel(SteepJob *job, int64 id)
{
	bool ours;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	ours = job->id == id && job->state != JOB_FREE && job->state != JOB_ENDED;
	if (ours)
	{
		pid_t coordinator;

		SpinLockAcquire(&job->mutex);
		job->cancel_requested = true;
		coordinator = job->coordinator_pid;
		SpinLockRelease(&job->mutex);
		if (coordinator != 0)
			kill(coordinator, SIGINT);
		job_end_helpers(job, SIGINT);
	}
	LWLockRelease(steep_shared->lock);
	return ours;
}

/*
 * Signal the holder and all copiers. Helpers clear their pid before they
 * exit, so a number reused by the system is not hit.
 */
void
job_end_helpers(SteepJob *job, int signal)
{
	pid_t pids[STEEP_MAX_COPIERS + 1];

	SpinLockAcquire(&job->mutex);
	memcpy(pids, job->copier_pids, sizeof(job->copier_pids));
	pids[STEEP_MAX_COPIERS] = job->holder_pid;
	SpinLockRelease(&job->mutex);

	for (int i = 0; i <= STEEP_MAX_COPIERS; i++)
		if (pids[i] != 0)
			kill(pids[i], signal);
}

/* Copy a text that may be NULL into a buffer; whole characters only. */
static void
copy_clipped(char *target, const char *text, size_t size)
{
	size_t len = text == NULL ? 0 : strlen(text);

	if (len >= size)
		len = pg_mbcliplen(text, len, size - 1);
	if (len > 0)
		memcpy(target, text, len);
	target[len] = '\0';
}

/*
 * Keep a helper's error for the coordinator, if it is the job's first. The row
 * shows message and detail; where there is no detail, the context is.
 */
void
job_report_error(SteepJob *job, const ErrorData *edata)
{
	HelperError error = {.sqlerrcode = edata->sqlerrcode};
	bool has_detail = edata->detail != NULL;

	copy_clipped(error.message, edata->message, sizeof(error.message));
	copy_clipped(error.detail, has_detail ? edata->detail : edata->context, sizeof(error.detail));
	copy_clipped(error.hint, edata->hint, sizeof(error.hint));
	copy_clipped(error.context, has_detail ? edata->context : NULL, sizeof(error.context));

	SpinLockAcquire(&job->mutex);
	if (job->error.sqlerrcode == 0)
		job->error = error;
	SpinLockRelease(&job->mutex);
}

bool
job_has_error(SteepJob *job)
{
	bool result;

	SpinLockAcquire(&job->mutex);
	result = job->error.sqlerrcode != 0;
	SpinLockRelease(&job->mutex);
	return result;
}

/* Something that the coordinator waits for has happened. */
void
job_wake_coordinator(SteepJob *job)
{
	int procno;
	pid_t pid;

	SpinLockAcquire(&job->mutex);
	pid = job->coordinator_pid;
	procno = job->coordinator_procno;
	SpinLockRelease(&job->mutex);
	if (pid != 0)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
}
