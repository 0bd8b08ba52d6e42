/*
 * apply_actions.c
 *	  The actions of an apply job, as plv8/jobs/apply.ts orders them.
 */
#include "apply.h"

#include <unistd.h>

#include "access/xact.h"
#include "directory.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "steep_repl.h"
#include "toc_statement.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "verify.h"
#include "worker.h"

static uint32 wait_event_step = 0;

static bool
action_flag(Jsonb *action, const char *key)
{
	char *value = action_text(action, key);

	return value != NULL && strcmp(value, "yes") == 0;
}

/* The tables to limit the job to, one a line; NIL = all. */
static List *
read_tables(Jsonb *action)
{
	JsonbValue value;
	Jsonb *array;
	JsonbIterator *it;
	JsonbIteratorToken token;
	List *tables = NIL;

	if (getKeyJsonValueFromContainer(&action->root, "tables", 6, &value) == NULL ||
		value.type != jbvBinary)
		return NIL;
	array = JsonbValueToJsonb(&value);
	it = JsonbIteratorInit(&array->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		List *names;

		if (token != WJB_ELEM || value.type != jbvString)
			continue;
		names =
			stringToQualifiedNameList(pnstrdup(value.val.string.val, value.val.string.len), NULL);
		if (list_length(names) != 2)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("table \"%.*s\" is not of the form schema.table",
								   value.val.string.len, value.val.string.val)));
		tables = lappend(tables, makeRangeVar(strVal(linitial(names)), strVal(lsecond(names)), -1));
	}
	return tables;
}

static void
read_options(ApplyRun *apply, Jsonb *action)
{
	char *path = action_text(action, "path");

	if (path == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("input_path must be given")));
	apply->path = directory_normalize(path);
	apply->selection.pre_data = action_flag(action, "pre_data");
	apply->selection.data = action_flag(action, "data");
	apply->selection.post_data = action_flag(action, "post_data");
	apply->selection.no_privileges = action_flag(action, "no_privileges");
	apply->selection.tables = read_tables(action);
	apply->no_owner = action_flag(action, "no_owner");
	apply->truncate = action_flag(action, "truncate");
}

/* The manifest, after both checks of the right to read it. */
static void
open_manifest(JobRun *run)
{
	ApplyRun *apply = run->apply;

	directory_check_read_rights(apply->path, NULL);
	run->dirfd = directory_open(apply->path);
	apply->manifest = apply_read_manifest(run->dirfd, apply->path);
	directory_check_read_rights(apply->path, apply->manifest->creator);
	apply->files = apply_index_files(apply->manifest);
	if (!codec_from_name(apply->manifest->compression, &apply->codec))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the snapshot has unknown compression \"%s\"",
							   apply->manifest->compression)));
	apply->encoding = pg_char_to_encoding(apply->manifest->encoding);
	if (!PG_VALID_BE_ENCODING(apply->encoding))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the snapshot has unknown encoding \"%s\"", apply->manifest->encoding)));
	SpinLockAcquire(&run->job->mutex);
	strlcpy(run->job->path, apply->path, MAXPGPATH);
	SpinLockRelease(&run->job->mutex);
}

/* Which of the archive's entries are to be applied. */
static void
select_entries(JobRun *run)
{
	ApplyRun *apply = run->apply;
	const ManifestFile *file = apply_find_file(apply->files, TOC_FILE);
	ByteBuffer text = apply_read_toc_file(run->dirfd, file->stored_bytes, file->frames[0].sha256);
	List *missing = NIL;
	StringInfoData names;
	ListCell *lc;

	apply->toc = toc_read(text.data, text.len);
	pfree(text.data);
	toc_convert(apply->toc, apply->encoding);
	apply->stages = toc_select(apply->toc, &apply->selection, &missing);
	if (missing == NIL)
		return;
	initStringInfo(&names);
	foreach (lc, missing)
	{
		RangeVar *name = lfirst(lc);

		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 quote_qualified_identifier(name->schemaname, name->relname));
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
					errmsg("the snapshot does not contain %s", names.data)));
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

/* Read the archive and what of it is done already. */
static void
open_archive(JobRun *run, Jsonb *action)
{
	ApplyRun *apply = MemoryContextAllocZero(run->context, sizeof(ApplyRun));

	run->apply = apply;
	/* There is no snapshot to hold: that worker slot is not needed. */
	job_worker_started(run->job);
	StartTransactionCommand(); /* rights and conversions are looked up in catalogs */
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(run->context);
	read_options(apply, action);
	open_manifest(run);
	apply->done = apply_marks_read(run->job->id);
	select_entries(run);
	apply_check_same_archive(run);
	apply_list_targets(apply);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	record_apply_source(run, apply->manifest);
}

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

/* Share the plan and start those who work at it. */
static void
start_appliers(JobRun *run, Jsonb *action)
{
	int workers = Min(action_int(action, "workers", 1), steep_max_parallel_workers);

	/* Levels matter only where foreign keys are checked with each row. */
	StartTransactionCommand();
	if (apply_may_skip_triggers())
		for (int i = 0; i < run->apply->n_targets; i++)
			run->apply->targets[i].level = 0;
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	apply_make_plan(run);
	count_done(run);
	helpers_start_workers(run, WORKER_APPLIER, Max(workers, 1));
}

/* What the progress of a phase is counted by: the items of its steps. */
static void
begin_counting(JobRun *run, ApplyStep first, ApplyStep last)
{
	uint32 n = 0;

	for (int step = first; step <= (int) last; step++)
		n += run->apply->plan->steps[step].n;
	SpinLockAcquire(&run->job->mutex);
	pg_atomic_write_u32(&run->job->counters.items_done, 0);
	pg_atomic_write_u32(&run->job->counters.items_total, n);
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
	SpinLockAcquire(&run->job->mutex);
	run->job->data_started_at = GetCurrentTimestamp();
	SpinLockRelease(&run->job->mutex);
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

/* The function for an action's kind, or NULL. */
ActionFunction
apply_action(const char *kind)
{
	static const struct
	{
		const char *kind;
		ActionFunction perform;
	} actions[] = {
		{"open_archive", open_archive},
		{"check_targets", apply_check_targets},
		{"verify", verify},
		{"start_appliers", start_appliers},
		{"truncate", truncate_targets},
		{"pre_data", pre_data},
		{"load", load},
		{"set_sequences", sequences},
		{"post_data", post_data},
		{"check_foreign_keys", apply_check_foreign_keys},
		{"analyze", analyze},
		{"close_plan", close_plan},
	};

	for (size_t i = 0; i < lengthof(actions); i++)
		if (strcmp(actions[i].kind, kind) == 0)
			return actions[i].perform;
	return NULL;
}
