/*
 * snapshot_actions.c
 *	  The actions of a snapshot job, as plv8/snapshot/snapshot.ts orders them.
 */
#include "jobs/run.h"

#include <unistd.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "files/frame_log.h"
#include "jobs/job_directory.h"
#include "snapshot/lock_watch.h"
#include "miscadmin.h"
#include "snapshot/pg_dump.h"
#include "snapshot/plan.h"
#include "snapshot/snapshot_plan.h"
#include "base/settings.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "jobs/worker.h"

static uint32 wait_event_lock = 0;

/* Make the job's directory. From here on there is something to remove. */
static void
create_directory(JobRun *run, Jsonb *action)
{
	job_directory_make(run, action_text(action, "path"));
}

/* A slot holds back WAL until somebody drops it: there is none but the one that the job's row names. */
static void
check_slot_name(JobRun *run, const char *slot_name)
{
	Jsonb *params = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(run->params)));
	char *asked = action_text(params, "slot_name");

	if (slot_name == NULL ? asked != NULL : asked == NULL || strcmp(slot_name, asked) != 0)
		wrong_answer("the slot is not the one that was asked for");
}

/* Start the holder, or another one after the first one's view went stale. */
static void
pin(JobRun *run, Jsonb *action)
{
	char *slot_name = action_text(action, "slot_name");

	check_slot_name(run, slot_name);
	run->attempts++;
	snapshot_run_reset(run);
	helpers_end_holder(run);
	SpinLockAcquire(&run->job->mutex);
	strlcpy(run->job->slot_name, slot_name ? slot_name : "", NAMEDATALEN);
	SpinLockRelease(&run->job->mutex);
	helpers_start_holder(run);
}

/* List what is to be copied, by the planner's queries, inside the snapshot. */
static void
plan(JobRun *run, Jsonb *action)
{
	snapshot_run_list(run, action);
}

/* Makes the command for pg_dump, with what the catalogs know. */
static PgDumpCommand *
prepare_pg_dump(JobRun *run, const char *application_name)
{
	SnapshotRun *snapshot = run->snapshot;
	PgDumpRequest request = {0};
	PgDumpCommand *command;

	StartTransactionCommand();
	MemoryContextSwitchTo(snapshot->context);
	request.program = steep_pg_dump_path[0] ? steep_pg_dump_path : NULL;
	request.conninfo = steep_local_conninfo[0] ? steep_local_conninfo : NULL;
	request.snapshot = run->job->snapshot_name;
	request.application_name = application_name;
	request.lock_timeout_ms = steep_lock_timeout;
	request.tables = snapshot->filter_tables;
	request.schemas = snapshot->filter_schemas;
	command = pg_dump_prepare(&request);
	CommitTransactionCommand();
	MemoryContextSwitchTo(snapshot->context);
	return command;
}

/* Tell the planner that the snapshot no longer fits the present. */
static void
report_change(JobRun *run, const char *what)
{
	run->expected = "pin";
	appendStringInfo(&run->facts, "\"attempts\":%d,\"changed\":", run->attempts);
	escape_json(&run->facts, what);
}

/* While pg_dump runs: look around, and say which lock it waits for. */
static void
tick_pg_dump(void *arg)
{
	JobRun *run = arg;

	run_tick(run);
	run_set_waiting(run, lock_watch_describe(run->pg_dump_name));
}

/* Let pg_dump read the schema and turn its archive into our table of contents. */
static void
dump_schema(JobRun *run, Jsonb *action)
{
	SnapshotRun *snapshot = run->snapshot;
	PgDumpCommand *command;
	const char *failure;
	ByteBuffer archive;

	run->pg_dump_name =
		MemoryContextStrdup(run->context, psprintf("steep_repl %s pg_dump", run->job->object_id));
	command = prepare_pg_dump(run, run->pg_dump_name);
	failure = pg_dump_run(command, tick_pg_dump, run, &archive);
	run_set_waiting(run, NULL);
	if (failure != NULL)
	{
		report_change(run, failure);
		return;
	}
	snapshot->toc = toc_read(archive.data, archive.len);
	pfree(archive.data);
	StartTransactionCommand();
	MemoryContextSwitchTo(snapshot->context);
	snapshot_run_add_data(run);
	CommitTransactionCommand();
}

/* Wait until the holder has locked every table. */
static void
wait_for_locks(JobRun *run)
{
	SteepJob *job = run->job;

	if (wait_event_lock == 0)
		wait_event_lock = WaitEventExtensionNew("SteepReplWaitForLocks");
	job_move_holder(job, HOLDER_PINNED, HOLDER_LOCK_REQUESTED);
	SetLatch(&GetPGProcByNumber(job->holder_procno)->procLatch);
	while (job_holder_state(job) != HOLDER_LOCKED)
	{
		char table[STEEP_TABLE_LEN];

		run_wait(run, wait_event_lock);
		SpinLockAcquire(&job->mutex);
		strlcpy(table, job->current_table, sizeof(table));
		SpinLockRelease(&job->mutex);
		record_status_detail(run,
							 table[0] ? psprintf("waiting for a lock on table %s", table) : NULL);
	}
}

/*
 * Lock the tables, then see whether any of them changed between the snapshot
 * and the lock. If so the planner takes a new snapshot.
 */
static void
lock(JobRun *run, Jsonb *action)
{
	SnapshotRun *snapshot = run->snapshot;
	const char *changed;

	snapshot->plan = snapshot_make_plan(snapshot, &run->job->plan);
	wait_for_locks(run);
	changed = snapshot_run_find_change(run, action);
	if (changed != NULL)
	{
		report_change(run, psprintf("table %s was changed", changed));
		return;
	}
	if (MyProc->lockGroupLeader == NULL &&
		!BecomeLockGroupMember(GetPGProcByNumber(run->job->holder_procno), run->job->holder_pid))
		helpers_check(run);
	StartTransactionCommand();
	plan_measure(snapshot->plan, &run->job->counters);
	CommitTransactionCommand();
	/* how much there is to copy, and how much room */
	job_directory_report_space(run, "bytes_on_disk",
							   pg_atomic_read_u64(&run->job->counters.bytes_total));
}

static const Action actions[] = {
	{"create_directory", "planning", {ACTION_START}, create_directory, {{"path", MEMBER_TEXT}}},
	{"pin",
	 "planning",
	 {"create_directory", "dump_schema", "lock"},
	 pin,
	 {{"slot_name", MEMBER_TEXT, true}}},
	{"plan",
	 "planning",
	 {"pin"},
	 plan,
	 {{"tables", MEMBER_TEXT},
	  {"matviews", MEMBER_TEXT},
	  {"large_objects", MEMBER_TEXT},
	  {"filter", MEMBER_TEXT},
	  {"memberships", MEMBER_TEXT},
	  {"compression", MEMBER_TEXT},
	  {"level", MEMBER_INTEGER, true},
	  {"node_id", MEMBER_TEXT, true}}},
	{"dump_schema", "schema", {"plan"}, dump_schema},
	{"lock", "schema", {"dump_schema"}, lock, {{"fingerprints", MEMBER_TEXT}}},
	{"copy", "data", {"lock"}, snapshot_copy, {{"parallel", MEMBER_COUNT}}},
	{"finish", "finalizing", {"copy"}, snapshot_finish},
	{"complete", "complete", {"finish"}},
};

const ActionTable snapshot_actions = ACTION_TABLE("snapshot_generate", false, actions, NULL);
