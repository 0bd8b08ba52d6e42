/*
 * coordinator.c
 *	  One job from claim to end. TypeScript decides the next action, C performs
 *	  it and writes down how far the job is; README.md draws the states.
 */
#include "workers/planner.h"

#include <unistd.h>

#include "access/xact.h"
#include "files/directory.h"
#include "miscadmin.h"
#include "jobs/job_directory.h"
#include "jobs/peer_secret.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "jobs/worker.h"

/* How long an exiting coordinator waits for helpers that still write. */
#define EXIT_WAIT_MS 1000

static JobRun *current_run = NULL;

/* Remove what the job wrote, unless it can go on from that; what stays shows in leftovers(). */
static void
remove_directory(JobRun *run, bool is_cancelled)
{
	DirectoryMark mark = job_directory_mark(run->job);

	if (!run->owns_directory || (run->keeps_files && !is_cancelled))
		return;
	if (directory_remove(run->job->path, &mark) == REMOVE_FAILED)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("steep_repl: could not remove directory \"%s\": %m", run->job->path)));
	else
		run->owns_directory = false;
}

/*
 * A coordinator that is terminated in mid-job (shutdown, DROP DATABASE WITH
 * FORCE) can run no SQL any more. It ends its helpers and removes the files; a
 * dispatcher says later in the row that the job failed.
 *
 * Where the postmaster is gone, this process may be, too, in a moment. What it
 * had half removed would no longer carry the marker that tells the dispatcher
 * of the next start to remove it: so it is left to that one as a whole.
 */
static void
at_exit(int code, Datum arg)
{
	JobRun *run = current_run;
	DirectoryMark mark;

	if (run == NULL || run->job->state == JOB_ENDED || !PostmasterIsAlive())
		return;
	/* What follows may take as long as a disk wants, and others may want what is locked. */
	AbortOutOfAnyTransaction();
	job_end_helpers(run->job, SIGTERM);
	for (int waited = 0; waited < EXIT_WAIT_MS; waited += 10)
	{
		bool any = false;

		SpinLockAcquire(&run->job->mutex);
		for (int i = 0; i < STEEP_MAX_COPIERS; i++)
			any = any || run->job->copier_pids[i] != 0;
		SpinLockRelease(&run->job->mutex);
		if (!any)
			break;
		pg_usleep(10 * 1000);
	}
	mark = job_directory_mark(run->job);
	if (run->owns_directory && !run->keeps_files)
		(void) directory_remove(run->job->path, &mark);
}

/* Do what the planner said, which has been checked. */
static void
perform(JobRun *run, const Action *action, Jsonb *answer)
{
	char *warnings = action_json(answer, "warnings");

	/* Not for each table: that would be a commit for each. */
	if (run->actions->is_resumed && run->done != action->kind)
		record_begun(run, action->kind);
	run_set_phase(run, action->phase != NULL ? action->phase : action_text(answer, "phase"));
	if (warnings != NULL)
		record_warnings(run, warnings);
	resetStringInfo(&run->facts);
	run->expected = NULL;
	action->perform(run, answer);
	MemoryContextSwitchTo(run->context);
	run->done = action->kind;
}

/* Perform actions until the planner says that the job is complete. */
static void
run_job(JobRun *run)
{
	record_start(run);
	run->actions = action_table(run->operation);
	if (run->actions == NULL)
		elog(ERROR, "there are no actions for operation \"%s\"", run->operation);
	/* An earlier attempt may have left some. */
	run->keeps_files = run->actions->keeps_files;
	run->owns_directory = run->keeps_files;
	run_set_phase(run, "planning");
	for (;;)
	{
		Jsonb *answer;
		const Action *action;

		worker_check_cancel(run->job);
		answer = planner_next_action(run);
		action = action_check(run->actions, run->done, run->expected, answer);
		if (action->perform == NULL)
			return;
		perform(run, action, answer);
		pfree(answer);
	}
}

/* Bring everything to rest, then say in the row how the job ended. */
static void
end_job(JobRun *run, ErrorData *error)
{
	bool cancelled = error != NULL && worker_is_cancelled(run->job);

	helpers_end_all(run);
	if (run->actions != NULL && run->actions->give_up != NULL)
		run->actions->give_up(run);
	if (run->dirfd >= 0)
		close(run->dirfd);
	run->dirfd = -1;
	if (error != NULL)
		remove_directory(run, cancelled);

	if (error == NULL)
		job_set_phase(run->job, "complete");
	/* A cancel request that comes now is too late, and must not lose the record. */
	HOLD_CANCEL_INTERRUPTS();
	/* From the commit on a retry may bring another one. */
	peer_secret_forget(run->job->id);
	record_end(run,
			   error == NULL ? "complete"
			   : cancelled   ? "cancelled"
							 : "failed",
			   cancelled ? NULL : error);
	job_set_state(run->job, JOB_ENDED);
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();

	if (error == NULL || cancelled)
		ereport(LOG, (errmsg("steep_repl: %s %s", run->job->object_id,
							 cancelled ? "cancelled" : "complete")));
	else
		ereport(WARNING, (errcode(error->sqlerrcode),
						  errmsg("steep_repl: %s failed: %s", run->job->object_id, error->message),
						  error->detail ? errdetail_internal("%s", error->detail) : 0,
						  error->hint ? errhint("%s", error->hint) : 0,
						  error->context ? errcontext("%s", error->context) : 0));
}

/* The error of the job, taken out of the failed transaction. */
static ErrorData *
catch_error(JobRun *run)
{
	ErrorData *error;

	MemoryContextSwitchTo(run->context);
	HOLD_INTERRUPTS();
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(run->context);
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && run->waiting != NULL)
		error->detail =
			error->detail == NULL ? run->waiting : psprintf("%s\n%s", run->waiting, error->detail);
	return error;
}

static JobRun *
make_run(SteepJob *job)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "steep_repl job", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	JobRun *run = palloc0_object(JobRun);

	run->job = job;
	run->context = context;
	run->dirfd = -1;
	initStringInfo(&run->facts);
	MemoryContextSwitchTo(old);
	return run;
}

void
steep_repl_coordinator_main(Datum arg)
{
	SteepJob *job = worker_start("coordinator");
	JobRun *volatile run = make_run(job);
	ErrorData *volatile error = NULL;

	current_run = run;
	before_shmem_exit(at_exit, (Datum) 0);

	PG_TRY();
	{
		run_job(run);
	}
	PG_CATCH();
	{
		error = catch_error(run);
	}
	PG_END_TRY();

	PG_TRY();
	{
		end_job(run, error);
	}
	PG_CATCH();
	{
		/*
		 * The end could not be recorded: DROP EXTENSION took the tables, or
		 * somebody holds the row. Without JOB_ENDED a dispatcher looks after it.
		 */
		EmitErrorReport();
		(void) catch_error(run);
		remove_directory(run, false);
	}
	PG_END_TRY();
}
