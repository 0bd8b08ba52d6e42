/*
 * job_slots.c
 *	  The slots of running jobs in shared memory, and admission: which job may
 *	  start with the worker slots that there are.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "jobs/shared_state.h"
#include "base/settings.h"
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
 * and a copier, an apply no holder; comparing and merging is done by the
 * coordinator alone.
 */
int
job_workers_needed(const char *operation)
{
	return strcmp(operation, "snapshot_generate") == 0 ? 3
		   : strcmp(operation, "snapshot_apply") == 0  ? 2
													   : 1;
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
static int
left_for_others(Oid requester)
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
		reserved += left_for_others(job->requester);
	ok = workers_free() - workers_promised() - 1 >= reserved;
	if (ok)
		job->promised_workers++;
	LWLockRelease(steep_shared->lock);
	return ok;
}

/*
 * Reserve a slot and worker slots for a job, or return NULL if they do not
 * fit. Called by a dispatcher: its own worker slot is about to be free, and so
 * are others' of its kind. Else two that began together would each find the
 * other in its way, and so again whenever they are started.
 */
SteepJob *
job_reserve(int64 id, Oid database, Oid requester, int workers)
{
	SteepJob *job = NULL;
	bool is_superuser = superuser_arg(requester);
	int left;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	left = workers_free() + steep_shared->n_dispatchers - workers_promised() - workers -
		   (is_superuser ? 0 : left_for_others(requester));
	for (int i = 0; i < STEEP_MAX_JOBS && left >= workers_reserved(); i++)
	{
		if (steep_shared->jobs[i].state != JOB_FREE)
			continue;
		job = &steep_shared->jobs[i];
		SpinLockAcquire(&job->mutex);
		memset((char *) job + offsetof(SteepJob, state), 0,
			   sizeof(SteepJob) - offsetof(SteepJob, state));
		SpinLockRelease(&job->mutex);
		job_init_counters(&job->counters);
		job->generation++;
		job->state = JOB_RESERVED;
		job->id = id;
		job->database = database;
		job->requester = requester;
		job->is_superusers = is_superuser;
		job->promised_workers = workers;
		break;
	}
	LWLockRelease(steep_shared->lock);
	return job;
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

/*
 * Of a launcher that was restarted: a coordinator that was registered and has
 * not come is started again. The generation sees to it that one of the two finds
 * nothing to do.
 */
void
job_readmit(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	if (job->state == JOB_STARTED && !job->has_begun)
	{
		job->generation++;
		job->state = JOB_ADMITTED;
	}
	LWLockRelease(steep_shared->lock);
}

/* Whether the coordinator has come and gone. */
bool
job_is_abandoned(SteepJob *job)
{
	bool result;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	result = job->has_begun && !job_has_coordinator(job);
	LWLockRelease(steep_shared->lock);
	return result;
}

/*
 * Give the slot back; false if the job has processes that may still write to
 * it. A worker that has yet to come finds another generation.
 */
bool
job_release(SteepJob *job)
{
	bool is_free;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	is_free = job->n_attached == 0;
	job->promised_workers = 0;
	job->makes_directory = false;
	if (is_free)
	{
		job->generation++;
		job->state = JOB_FREE;
		job->id = 0;
		job->has_begun = false;
	}
	LWLockRelease(steep_shared->lock);
	return is_free;
}

/*
 * The slot of a living job, or NULL. One that has ended may keep its slot for a
 * while, and may run again in another.
 */
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

		if (job->state != JOB_FREE && job->state != JOB_ENDED && job->id == id &&
			job->database == database)
			found = job;
	}
	LWLockRelease(steep_shared->lock);
	return found;
}

/* Whether a job makes its directory at this path. Caller holds the lock. */
bool
job_makes_directory(const char *path)
{
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		if (steep_shared->jobs[i].makes_directory && strcmp(steep_shared->jobs[i].path, path) == 0)
			return true;
	return false;
}

/*
 * Whether the job may make its directory now. Of two jobs for one path the same
 * one must make the directory and mark it, or nobody would know later to remove
 * it, and while a lost job's files are removed none may; jobs for other paths do
 * not wait for a slow disk.
 */
bool
job_begin_directory(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	job->makes_directory = !job_makes_directory(job->path) && !remover_is_at(job->path);
	LWLockRelease(steep_shared->lock);
	return job->makes_directory;
}

/* The directory is made and marked, or could not be. */
void
job_end_directory(SteepJob *job)
{
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	job->makes_directory = false;
	LWLockRelease(steep_shared->lock);
}
