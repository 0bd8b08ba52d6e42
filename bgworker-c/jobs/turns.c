/*
 * turns.c
 *	  Whose turn it is: who waits longest for a job of his is served first, so
 *	  that nobody's many jobs hold up another's one. In shared memory, since
 *	  jobs come and go in rows that their requester may delete.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "jobs/shared_state.h"

/*
 * A job of this role was claimed: it goes to the end of the line. Of those who
 * no longer fit it is not known that they were ever served, which was long ago.
 */
void
turn_note(Oid requester)
{
	Oid *served = steep_shared->served;
	int n = 0;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < steep_shared->n_served; i++)
		if (served[i] != requester)
			served[n++] = served[i];
	if (n == STEEP_SERVED)
		memmove(served, served + 1, --n * sizeof(Oid));
	served[n++] = requester;
	steep_shared->n_served = n;
	LWLockRelease(steep_shared->lock);
}

static ArrayType *
oid_array(const Oid *oids, int n)
{
	Datum elements[Max(STEEP_SERVED, STEEP_MAX_JOBS)];

	for (int i = 0; i < n; i++)
		elements[i] = ObjectIdGetDatum(oids[i]);
	return construct_array_builtin(elements, n, OIDOID);
}

/* Who was served, oid[] in the order of their last turn. */
ArrayType *
turns_served(void)
{
	Oid served[STEEP_SERVED];
	int n;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	n = steep_shared->n_served;
	memcpy(served, steep_shared->served, n * sizeof(Oid));
	LWLockRelease(steep_shared->lock);
	return oid_array(served, n);
}

/* Whose jobs run, oid[] with an element for each job. */
ArrayType *
turns_running(void)
{
	Oid running[STEEP_MAX_JOBS];
	int n = 0;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	for (int i = 0; i < STEEP_MAX_JOBS; i++)
		if (steep_shared->jobs[i].state != JOB_FREE)
			running[n++] = steep_shared->jobs[i].requester;
	LWLockRelease(steep_shared->lock);
	return oid_array(running, n);
}
