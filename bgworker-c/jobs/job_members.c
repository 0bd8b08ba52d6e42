/*
 * job_members.c
 *	  The processes of a job: coming and going, signals, and what they tell
 *	  each other in the job's slot.
 *
 * A process is attached to a slot from before its first write to after its last
 * one, at the very end of its exit. That the slot is its job's is looked at once,
 * under the lock, when it comes: nobody can take the slot while it is there.
 */
#include "postgres.h"

#include <signal.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "jobs/shared_state.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* Where the job's slot has this process' id. */
static pid_t *my_place = NULL;

/* After all that this process may write. The launcher may wait for its end. */
static void
detach(int code, Datum arg)
{
	SteepJob *job = (SteepJob *) DatumGetPointer(arg);

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	SpinLockAcquire(&job->mutex);
	if (*my_place == MyProcPid)
		*my_place = 0;
	SpinLockRelease(&job->mutex);
	job->n_attached--;
	LWLockRelease(steep_shared->lock);
	launcher_set_latch();
}

/*
 * Become a process of a job, whose id goes to a place in its slot. False if the
 * slot has passed to another job, or the job's coordinator has come or gone
 * already: then this process was registered for nothing.
 */
bool
job_attach(SteepJob *job, uint64 generation, pid_t *place, int *procno)
{
	bool is_coordinator = place == &job->coordinator_pid;
	bool ours;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	ours = job->generation == generation && job->state == JOB_STARTED &&
		   (is_coordinator ? !job->has_begun : job_has_coordinator(job));
	if (ours)
	{
		job->n_attached++;
		job->has_begun = true;
		Assert(job->promised_workers > 0);
		job->promised_workers--;
		my_place = place;
		SpinLockAcquire(&job->mutex);
		*place = MyProcPid;
		if (procno != NULL)
			*procno = MyProcNumber;
		SpinLockRelease(&job->mutex);
	}
	LWLockRelease(steep_shared->lock);
	if (ours)
		on_shmem_exit(detach, PointerGetDatum(job));
	return ours;
}

/*
 * Signal the holder and all copiers. Caller holds the lock, without which none of
 * them can end: no other process has its number.
 */
static void
signal_helpers(SteepJob *job, int signal)
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

/*
 * Ask a job to stop: a flag for the waits, SIGINT for what runs. False if the
 * slot has passed to another job, or the job has ended.
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
		signal_helpers(job, SIGINT);
	}
	LWLockRelease(steep_shared->lock);
	return ours;
}

/* Signal whichever helpers there are. */
void
job_end_helpers(SteepJob *job, int signal)
{
	LWLockAcquire(steep_shared->lock, LW_SHARED);
	signal_helpers(job, signal);
	LWLockRelease(steep_shared->lock);
}

/* Whether the coordinator is there. */
bool
job_has_coordinator(SteepJob *job)
{
	bool result;

	SpinLockAcquire(&job->mutex);
	result = job->coordinator_pid != 0;
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

/* Show sessions what is being worked at: whole characters of it. */
void
job_show_table(SteepJob *job, const char *name)
{
	int len = pg_mbcliplen(name, strlen(name), sizeof(job->current_table) - 1);

	SpinLockAcquire(&job->mutex);
	memcpy(job->current_table, name, len);
	job->current_table[len] = '\0';
	SpinLockRelease(&job->mutex);
}

/* From now on the time is counted in which data are copied. */
void
job_begin_data(SteepJob *job)
{
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&job->mutex);
	job->data_started_at = now;
	SpinLockRelease(&job->mutex);
}

HolderState
job_holder_state(SteepJob *job)
{
	HolderState state;

	SpinLockAcquire(&job->mutex);
	state = job->holder_state;
	SpinLockRelease(&job->mutex);
	return state;
}

/* The holder is a step further, unless it was released meanwhile. */
void
job_move_holder(SteepJob *job, HolderState from, HolderState to)
{
	SpinLockAcquire(&job->mutex);
	if (job->holder_state == from)
		job->holder_state = to;
	SpinLockRelease(&job->mutex);
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

/* How many of its processes copy or load. */
int
job_n_copiers(SteepJob *job)
{
	int n = 0;

	SpinLockAcquire(&job->mutex);
	for (int i = 0; i < STEEP_MAX_COPIERS; i++)
		n += job->copier_pids[i] != 0;
	SpinLockRelease(&job->mutex);
	return n;
}

/* What the job does now. Its counters of items begin anew with each phase. */
void
job_set_phase(SteepJob *job, const char *phase)
{
	/* Nobody else writes it. */
	bool is_new = strcmp(job->phase, phase) != 0;
	TimestampTz now = GetCurrentTimestamp();

	SpinLockAcquire(&job->mutex);
	if (is_new)
	{
		pg_atomic_write_u64(&job->counters.items_done, 0);
		pg_atomic_write_u64(&job->counters.items_total, 0);
		job->phase_started_at = now;
	}
	strlcpy(job->phase, phase, sizeof(job->phase));
	job->current_table[0] = '\0';
	SpinLockRelease(&job->mutex);
}
