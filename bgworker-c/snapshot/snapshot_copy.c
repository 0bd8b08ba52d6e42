/*
 * snapshot_copy.c
 *	  Has the tables of a snapshot copied, and says what that costs the server.
 */
#include "snapshot/snapshot_plan.h"

#include "access/xlog.h"
#include "base/settings.h"
#include "jobs/run.h"
#include "jobs/worker.h"
#include "snapshot/plan.h"
#include "utils/wait_event.h"

static uint32 wait_event_copy = 0;

/*
 * Once so much WAL has been written since the snapshot, say what it costs the
 * server to keep it. NULL before that. In steps, so that the row seldom changes.
 */
static char *
describe_retention(const SteepJob *job)
{
	uint64 written = GetXLogInsertRecPtr() - job->snapshot_lsn;
	uint64 step = (uint64) steep_retention_warning * 1024 * 1024;

	if (step == 0 || written < step)
		return NULL;
	return psprintf("the snapshot holds back vacuum%s: " UINT64_FORMAT
					" MB of WAL have been written since it was taken",
					job->slot_name[0] ? " and its slot holds back WAL" : "",
					written / step * (uint64) steep_retention_warning);
}

/* The action: copy all tables. */
void
snapshot_copy(JobRun *run, Jsonb *action)
{
	SteepJob *job = run->job;
	int parallel = Min(action_int(action, "parallel", 1), steep_max_parallel_workers);

	if (wait_event_copy == 0)
		wait_event_copy = WaitEventExtensionNew("SteepReplWaitForCopiers");
	job_begin_data(job);
	run->snapshot->n_copiers = helpers_start_workers(run, WORKER_COPIER, Max(parallel, 1));
	while (!helpers_copiers_are_done(run))
	{
		run_wait(run, wait_event_copy);
		run_set_waiting(run, describe_retention(job));
	}
	run_set_waiting(run, NULL);
	helpers_check(run);
	if (pg_atomic_read_u32(&job->counters.tables_durable) != run->snapshot->plan->n_tables)
		ereport(ERROR, (errcode(ERRCODE_ADMIN_SHUTDOWN),
						errmsg("a copy worker was terminated before its tables were copied")));
}
