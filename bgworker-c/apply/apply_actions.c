/*
 * apply_actions.c
 *	  The actions of an apply job, as plv8/apply/apply.ts orders them.
 */
#include "apply/apply.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "base/settings.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "files/verify.h"
#include "jobs/origin.h"
#include "jobs/requester.h"
#include "jobs/worker.h"

static uint32 wait_event_step = 0;

static void
report_problem(const SnapshotProblem *problem, void *arg)
{
	StringInfo list = arg;

	if (list->len > 2000)
		return;
	appendStringInfo(list, "%s%s: %s", list->len > 0 ? "\n" : "", problem->file, problem->problem);
}

/* Re-read every byte before the first one is written anywhere. */
static void
verify(JobRun *run, Jsonb *action)
{
	StringInfoData list;
	uint64 n;

	initStringInfo(&list);
	n = verify_files(run->dirfd, run->apply->manifest, report_problem, &list);
	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the snapshot in \"%s\" is damaged", run->apply->path),
				 errdetail_internal("%s", list.data),
				 errhint("Nothing was changed. steep_repl.verify_snapshot(path) lists it all.")));
}

/* How far an earlier attempt came, for progress. */
static void
count_done(JobRun *run)
{
	ApplyRun *apply = run->apply;
	JobCounters *counters = &run->job->counters;

	for (int i = 0; i < apply->n_targets; i++)
	{
		const ManifestFile *file = apply->targets[i].file;

		pg_atomic_fetch_add_u64(&counters->bytes_total, file->raw_bytes);
		pg_atomic_fetch_add_u64(&counters->bytes_done, file->raw_bytes);
		pg_atomic_fetch_add_u64(&counters->rows, file->rows);
	}
	pg_atomic_fetch_add_u64(&counters->bytes_total, apply->object_bytes);
	pg_atomic_fetch_add_u64(&counters->bytes_done, apply->object_bytes);
	for (uint32 i = 0; i < apply->plan->steps[STEP_LOAD].n; i++)
	{
		const ApplyItem *item = &plan_items(apply->plan)[apply->plan->steps[STEP_LOAD].first + i];

		for (uint32 f = item->first_frame; f < item->first_frame + item->n_frames; f++)
		{
			const ApplyFrame *frame = &plan_frames(apply->plan)[f];

			pg_atomic_fetch_sub_u64(&counters->bytes_done, frame->raw_bytes);
			pg_atomic_fetch_sub_u64(&counters->rows, frame->rows);
		}
	}
	pg_atomic_write_u32(&counters->tables_total, apply->n_targets);
	for (uint32 i = 0; i < apply->plan->n_tables; i++)
		if (pg_atomic_read_u32(&plan_tables(apply->plan)[i].items_left) == 0)
			pg_atomic_fetch_add_u32(&counters->tables_done, 1);
}

/* The origin of what is loaded: that of the subscription which brings later changes of it, if there is one. */
static void
find_origin(JobRun *run)
{
	ApplyRun *apply = run->apply;
	char **names = palloc_array(char *, apply->n_targets);

	for (int i = 0; i < apply->n_targets; i++)
		names[i] = apply->targets[i].name;
	requester_begin();
	if (!apply->replicate && apply->n_targets > 0 && origin_may_be_set())
		apply->origin_pid = requester_count(run, "select steep_repl._apply_origin($1)",
											SQL_ARGS(arg_texts(names, apply->n_targets)));
	apply->origin = origin_take();
	requester_commit();
}

/* Share the plan and start those who work at it. */
static void
start_appliers(JobRun *run, Jsonb *action)
{
	int parallel = Min(action_int(action, "parallel", 1), steep_max_parallel_workers);

	/* Levels matter only where foreign keys are checked with each row. */
	StartTransactionCommand();
	if (worker_may_skip_triggers())
		for (int i = 0; i < run->apply->n_targets; i++)
			run->apply->targets[i].level = 0;
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	run->apply->replicate = action_flag(action, "replicate");
	find_origin(run);
	apply_make_plan(run);
	count_done(run);
	helpers_start_workers(run, WORKER_APPLIER, Max(parallel, 1));
}

/* What the progress of a phase is counted by: the items of its steps. */
static void
begin_counting(JobRun *run, ApplyStep first, ApplyStep last)
{
	uint32 n = 0;

	for (int step = first; step <= (int) last; step++)
		n += run->apply->plan->steps[step].n;
	SpinLockAcquire(&run->job->mutex);
	pg_atomic_write_u64(&run->job->counters.items_done, 0);
	pg_atomic_write_u64(&run->job->counters.items_total, n);
	SpinLockRelease(&run->job->mutex);
}

/* Have the appliers do one step, and wait for its end. */
static void
run_step(JobRun *run, ApplyStep step)
{
	ApplyPlan *plan = run->apply->plan;

	if (wait_event_step == 0)
		wait_event_step = WaitEventExtensionNew("SteepReplWaitForAppliers");
	if (plan->steps[step].n == 0)
		return;
	apply_plan_open_step(plan, step);
	while (!apply_plan_step_is_done(plan, step))
	{
		run_wait(run, wait_event_step);
		if (helpers_any_is_gone(run) && !apply_plan_step_is_done(plan, step))
		{
			helpers_check(run); /* it may have said why */
			ereport(ERROR,
					(errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("an apply worker was terminated"),
					 errhint("Go on with: select steep_repl.retry_operation(" INT64_FORMAT ").",
							 run->job->id)));
		}
	}
	helpers_check(run);
}

static void
truncate_targets(JobRun *run, Jsonb *action)
{
	run_step(run, STEP_TRUNCATE);
}

static void
pre_data(JobRun *run, Jsonb *action)
{
	begin_counting(run, STEP_PRE_DATA, STEP_PRE_DATA);
	run_step(run, STEP_PRE_DATA);
}

static void
load(JobRun *run, Jsonb *action)
{
	job_begin_data(run->job);
	run_step(run, STEP_LARGE_OBJECTS);
	run_step(run, STEP_LOAD);
}

static void
sequences(JobRun *run, Jsonb *action)
{
	run_step(run, STEP_SEQUENCES);
}

/* Indexes, constraints and the rest; then rights, then what needs both. */
static void
post_data(JobRun *run, Jsonb *action)
{
	begin_counting(run, STEP_POST_DATA, STEP_LAST);
	run_step(run, STEP_POST_DATA);
	run_step(run, STEP_RIGHTS);
	run_step(run, STEP_LAST);
}

static void
analyze(JobRun *run, Jsonb *action)
{
	begin_counting(run, STEP_ANALYZE, STEP_ANALYZE);
	run_step(run, STEP_ANALYZE);
}

/* All is done: let the appliers go by themselves. */
static void
close_plan(JobRun *run, Jsonb *action)
{
	apply_plan_open_step(run->apply->plan, STEP_CLOSED);
	while (!helpers_copiers_are_done(run))
		run_wait(run, wait_event_step);
	helpers_check(run);
}

static const Action actions[] = {
	{"open_archive",
	 "planning",
	 {ACTION_START},
	 apply_open_archive,
	 {{"path", MEMBER_TEXT},
	  {"pre_data", MEMBER_FLAG},
	  {"data", MEMBER_FLAG},
	  {"post_data", MEMBER_FLAG},
	  {"truncate", MEMBER_FLAG},
	  {"no_owner", MEMBER_FLAG},
	  {"no_privileges", MEMBER_FLAG},
	  {"tables", MEMBER_TEXTS, true}}},
	{"verify", "planning", {"open_archive"}, verify},
	{"check_targets",
	 "planning",
	 {"open_archive", "verify"},
	 apply_check_targets,
	 {{"facts", MEMBER_TEXT}, {"levels", MEMBER_TEXT}}},
	{"start_appliers",
	 "planning",
	 {"check_targets"},
	 start_appliers,
	 {{"parallel", MEMBER_COUNT}, {"replicate", MEMBER_FLAG}}},
	{"pre_data", "schema", {"start_appliers"}, pre_data},
	{"truncate", "data", {"pre_data"}, truncate_targets},
	{"load", "data", {"truncate"}, load},
	{"set_sequences", "sequences", {"load"}, sequences},
	{"post_data", "indexes", {"set_sequences"}, post_data},
	{"check_constraints",
	 "finalizing",
	 {"post_data"},
	 apply_check_constraints,
	 {{"checks", MEMBER_TEXT}}},
	{"analyze", "finalizing", {"check_constraints"}, analyze},
	{"close_plan", "finalizing", {"analyze"}, close_plan},
	{"complete", "complete", {"close_plan"}},
};

const ActionTable apply_actions = ACTION_TABLE("snapshot_apply", true, actions, NULL);
