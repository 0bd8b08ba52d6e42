/*
 * applier.c
 *	  An apply's worker: takes items of the plan, does each in a transaction of
 *	  its own together with the mark that says so, until the plan is closed.
 *
 * What it runs is somebody else's: statements of the archive, defaults,
 * triggers. So it is connected as the requester, what such code sets is undone
 * after each item, and no JavaScript and no planning happens here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "apply/apply.h"
#include "apply/apply_item.h"
#include "apply/apply_load.h"
#include "files/directory.h"
#include "miscadmin.h"
#include "jobs/shared_plan.h"
#include "jobs/origin.h"
#include "storage/ipc.h"
#include "toc/toc_statement.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "jobs/worker.h"

/* Items may deadlock with each other or with sessions: try again so often. */
#define MAX_DEADLOCKS 5

/* A missed wake-up would cost this much, in ms. */
#define IDLE_MS 1000

static SteepJob *job;
static ApplyPlan *plan;
static Toc *toc;

/* Before the plan is unmapped, which holds the condition variable that we may sleep on. */
static void
stop_waiting(int code, Datum arg)
{
	ConditionVariableCancelSleep();
}

/* Do an item; returns its error, with no transaction left open. */
static ErrorData *
try_item(const ApplyItem *item)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback *callbacks = error_context_stack;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		apply_item_run(item);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		error = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		origin_end();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	error_context_stack = callbacks;
	return error;
}

/* Do an item whose turn it is; raises what cannot be helped. */
static void
do_item(const ApplyItem *item)
{
	for (int attempt = 1;; attempt++)
	{
		ErrorData *error = try_item(item);

		if (error == NULL)
			return;
		if (error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED && attempt < MAX_DEADLOCKS)
			continue;
		if (plan->step == STEP_LOAD && apply_load_may_move(item, apply_item_name(item), error))
			continue;
		if (apply_item_is_optional(item, error))
		{
			ereport(LOG, (errmsg("steep_repl: %s left out: %s", job->object_id, error->message)));
			apply_item_skip(item);
			return;
		}
		apply_item_advise(item, error);
		ThrowErrorData(error);
	}
}

/* A table's last load is done. */
static void
count_table(const ApplyItem *item)
{
	if (pg_atomic_sub_fetch_u32(&plan_tables(plan)[item->table].items_left, 1) == 0)
		pg_atomic_fetch_add_u32(&job->counters.tables_done, 1);
}

static void
work(MemoryContext per_item)
{
	int number = worker_number();
	uint32 wait_event = WaitEventExtensionNew("SteepReplApplierIdle");
	uint32 i;

	while (plan->step != STEP_CLOSED)
	{
		const ApplyItem *item;

		worker_check_cancel(job);
		if (!apply_plan_take(plan, number, &i))
		{
			(void) ConditionVariableTimedSleep(&plan->changed, IDLE_MS, wait_event);
			continue;
		}
		ConditionVariableCancelSleep();
		item = &plan_items(plan)[i];
		MemoryContextSwitchTo(per_item);
		job_show_table(job, apply_item_name(item));
		do_item(item);
		if (plan->step == STEP_LOAD && item->n_objects == 0)
			count_table(item);
		pg_atomic_fetch_add_u64(&job->counters.items_done, 1);
		if (apply_plan_item_done(plan, number))
			job_wake_coordinator(job);
		MemoryContextReset(per_item);
	}
	ConditionVariableCancelSleep();
}

/* Read the archive for ourselves: statements are too large for shared memory. */
static void
open_archive(int dirfd)
{
	ByteBuffer text = apply_read_toc_file(dirfd, plan->toc_bytes, plan->toc_sha256);

	toc = toc_read(text.data, text.len);
	pfree(text.data);
	StartTransactionCommand(); /* conversions are looked up in catalogs */
	toc_convert(toc, plan->encoding);
	CommitTransactionCommand();
}

static void
run_applier(SteepJob *the_job)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "steep_repl applier", ALLOCSET_DEFAULT_SIZES);
	int dirfd;

	plan = plan_attach(job->plan);
	MemoryContextSwitchTo(context);
	dirfd = directory_open(job->path);
	open_archive(dirfd);
	MemoryContextSwitchTo(context);
	apply_item_init(job, plan, toc, dirfd);
	work(AllocSetContextCreate(context, "steep_repl apply item", ALLOCSET_DEFAULT_SIZES));
}

void
steep_repl_applier_main(Datum arg)
{
	job = worker_start("applier");
	SetConfigOption("application_name",
					psprintf("steep_repl %s apply %d", job->object_id, worker_number() + 1),
					PGC_SUSET, PGC_S_OVERRIDE);
	/* Nothing is lost when the server crashes: a mark goes with what it marks. */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	before_shmem_exit(stop_waiting, (Datum) 0);
	worker_run_helper(job, run_applier);
}
