/*
 * shared_state.c
 *	  Shared memory and the launcher's mailbox; see job_slots.c for the jobs.
 */
#include "jobs/shared_state.h"

#include "miscadmin.h"
#include "base/settings.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

SteepShared *steep_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

/* Ask for our memory and one lock. */
static void
request_shared_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(sizeof(SteepShared));
	RequestNamedLWLockTranche(STEEP_NAME, 1);
}

/* Runs at server start and again after every crash restart. */
static void
startup_shared_memory(void)
{
	bool found;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	steep_shared = ShmemInitStruct(STEEP_NAME, sizeof(SteepShared), &found);
	if (!found)
	{
		memset(steep_shared, 0, sizeof(SteepShared));
		steep_shared->lock = &(GetNamedLWLockTranche(STEEP_NAME))->lock;
		SpinLockInit(&steep_shared->mutex);
		/* A crash may have left jobs 'running' anywhere. */
		steep_shared->look_everywhere = true;
		for (int i = 0; i < STEEP_MAX_JOBS; i++)
		{
			SpinLockInit(&steep_shared->jobs[i].mutex);
			job_init_counters(&steep_shared->jobs[i].counters);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
shared_state_init(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shared_memory;
}

/* ---- launcher ---- */

/* It clears its pid when it exits, and a crash clears all of the memory. */
bool
launcher_is_alive(void)
{
	pid_t pid;

	if (steep_shared == NULL)
		return false;
	SpinLockAcquire(&steep_shared->mutex);
	pid = steep_shared->launcher_pid;
	SpinLockRelease(&steep_shared->mutex);
	return pid != 0;
}

/* Wake the launcher, if there is one. Never fails: called at commit. */
void
launcher_set_latch(void)
{
	int procno = -1;

	SpinLockAcquire(&steep_shared->mutex);
	if (steep_shared->launcher_pid != 0)
		procno = steep_shared->launcher_procno;
	SpinLockRelease(&steep_shared->mutex);
	if (procno >= 0)
		SetLatch(&GetPGProcByNumber(procno)->procLatch);
}

/*
 * Tell the launcher that a database has waiting jobs, or (blocked) that they
 * must wait for worker slots. Never fails.
 */
void
launcher_wake(Oid database, bool blocked)
{
	int i;
	WaitingDatabase *waiting = steep_shared ? steep_shared->databases : NULL;

	if (steep_shared == NULL)
		return;

	SpinLockAcquire(&steep_shared->mutex);
	for (i = 0; i < steep_shared->n_databases; i++)
		if (waiting[i].oid == database)
			break;
	if (i == STEEP_MAX_DATABASES)
		steep_shared->look_everywhere = true;
	else if (i == steep_shared->n_databases)
	{
		waiting[i].oid = database;
		waiting[i].blocked = blocked;
		steep_shared->n_databases++;
	}
	else
		waiting[i].blocked &= blocked;
	SpinLockRelease(&steep_shared->mutex);

	launcher_set_latch();
}

/* Whether the files at a path are being removed: then nobody else may touch them. Caller holds the lock. */
bool
remover_is_at(const char *path)
{
	bool found = false;

	for (int i = 0; i < STEEP_MAX_REMOVERS; i++)
		found = found || strcmp(steep_shared->removers[i].path, path) == 0;
	return found;
}
