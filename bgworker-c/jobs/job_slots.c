/*
 * job_slots.c
 *	  The slots of running jobs in shared memory; worker_slots.c says whether a
 *	  job fits.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "jobs/shared_state.h"

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
	pg_atomic_init_u64(&counters->items_total, 0);
	pg_atomic_init_u64(&counters->items_done, 0);
	pg_atomic_init_u32(&counters->tables_durable, 0);
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
		   (is_superuser ? 0 : workers_left_for_others(requester));
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
