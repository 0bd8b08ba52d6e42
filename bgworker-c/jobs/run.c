/*
 * run.c
 *	  What the actions of every kind of job do while they work and wait: look
 *	  around, and show how far the job is.
 */
#include "jobs/run.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* How often a wait looks around, in ms. Cancelling takes no longer than this. */
#define TICK_MS 100

/* A new phase, visible at once to sessions, in the row and to listeners. */
void
run_set_phase(JobRun *run, const char *phase)
{
	job_set_phase(run->job, phase);
	record_progress(run, false);
}

/* Which table is worked on, for whoever watches. */
void
run_show_table(JobRun *run, const char *table)
{
	job_show_table(run->job, table);
	record_progress(run, false);
}

/* Look around while waiting: cancel requests, helpers' errors, progress. */
void
run_tick(JobRun *run)
{
	helpers_check(run);
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	record_progress(run, false);
}

/* Sleep for one tick, or until something happens. */
void
run_wait(JobRun *run, uint32 wait_event)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TICK_MS, wait_event);
	ResetLatch(MyLatch);
	run_tick(run);
}

/*
 * Say in the row what the job waits for; NULL = nothing. Kept too for the
 * message, should the wait be in vain.
 */
void
run_set_waiting(JobRun *run, const char *what)
{
	if (what == NULL ? run->waiting == NULL
					 : run->waiting != NULL && strcmp(what, run->waiting) == 0)
		return;
	run->waiting = what == NULL ? NULL : MemoryContextStrdup(run->context, what);
	record_status_detail(run, run->waiting);
}

/*
 * Do what a job that has failed may still do, and fail with no more than a line
 * in the log; false then. No transaction is open afterwards.
 */
bool
run_try(JobRun *run, void (*body)(JobRun *run))
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool is_done = false;

	PG_TRY();
	{
		body(run);
		is_done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return is_done;
}
