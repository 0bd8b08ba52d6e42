/*
 * worker_slots.c
 *	  Admission: which job may start with the worker slots that there are.
 */
#include "jobs/shared_state.h"

#include "base/settings.h"
#include "miscadmin.h"
#include "storage/proc.h"

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
int
workers_promised(void)
{
	int n = 0;

	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		if (steep_shared->jobs[i].state != JOB_FREE)
			n += steep_shared->jobs[i].promised_workers;
	return n;
}

/*
 * Slots that jobs leave free. A remover has one of these: where it hangs, it must
 * not keep jobs from running. Without the lock this may be out of date.
 */
int
workers_reserved(void)
{
	int n = steep_reserved_worker_slots;

	for (int i = 0; i < STEEP_MAX_REMOVERS; i++)
		n -= OidIsValid(steep_shared->removers[i].database);
	return Max(n, 0);
}

/* A worker of the job could not be started: its slot is kept no longer. */
void
job_break_promise(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	Assert(job->promised_workers > 0);
	job->promised_workers--;
	LWLockRelease(steep_shared->lock);
}

/*
 * How many worker slots a job must find: a snapshot has a coordinator, a holder
 * and a copier, an apply and a fetch no holder; comparing and merging is done by the
 * coordinator alone.
 */
int
job_workers_needed(const char *operation)
{
	return strcmp(operation, "snapshot_generate") == 0 ? 3
		   : strcmp(operation, "snapshot_apply") == 0  ? 2
		   : strcmp(operation, "snapshot_fetch") == 0  ? 2
													   : 1;
}

/* A dispatcher begins, or ends. */
void
dispatchers_count(int change)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	steep_shared->n_dispatchers += change;
	LWLockRelease(steep_shared->lock);
}

/* Whether a job of another role was ever claimed. Caller holds the lock. */
static bool
there_are_others(Oid requester)
{
	for (int i = 0; i < steep_shared->n_served; i++)
		if (steep_shared->served[i] != requester)
			return true;
	return false;
}

/*
 * Worker slots that a role which has jobs running leaves to others: as many as a
 * job of theirs may need, so that its long jobs cannot take all there are. All of
 * them where only one job slot is left. Where one role alone has jobs, it has all.
 * Caller holds the lock.
 */
int
workers_left_for_others(Oid requester)
{
	int n_running = 0;
	int n_free = 0;

	if (!there_are_others(requester))
		return 0;
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
	{
		n_free += steep_shared->jobs[i].state == JOB_FREE;
		n_running +=
			steep_shared->jobs[i].state != JOB_FREE && steep_shared->jobs[i].requester == requester;
	}
	if (n_running == 0)
		return 0;
	return n_free > 1 ? STEEP_WORKERS_FOR_OTHERS : max_worker_processes;
}

/*
 * Keep one more worker slot for a job, if that leaves enough for others; one that
 * the job cannot do without is not grudged. The promise ends when the worker is
 * there (job_attach).
 */
bool
job_promise_worker(SteepJob *job, bool is_needed)
{
	int reserved;
	bool ok;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	reserved = workers_reserved();
	if (!is_needed && !job->is_superusers)
		reserved += workers_left_for_others(job->requester);
	ok = workers_free() - workers_promised() - 1 >= reserved;
	if (ok)
		job->promised_workers++;
	LWLockRelease(steep_shared->lock);
	return ok;
}
