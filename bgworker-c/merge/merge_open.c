/*
 * merge_open.c
 *	  A merge before it reads a row: it connects, plans all tables, and finds out
 *	  what stands in its way.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/requester.h"
#include "jobs/run.h"
#include "utils/timestamp.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

static const char *
param(JobRun *run, const char *name)
{
	char *value;

	requester_begin();
	requester_select(run, &value, 1, "select $1::jsonb ->> $2",
					 SQL_ARGS(arg_text(run->params), arg_text(name)));
	requester_commit();
	return value;
}

/*
 * The merge that an undo takes back. Parameters are not to be believed: it must
 * be the requester's own, since it was with that role's rights that its audit
 * log came about. steep_repl.undo_merge() queues the undo for that role.
 */
static const char *
merge_to_undo(JobRun *run)
{
	const char *merge_id = param(run, "undoes");
	Oid requester = GetUserId();
	OwnerSession session;
	bool isnull;
	bool allowed;

	owner_begin_transaction(&session);
	owner_execute("select * from steep_repl._undoable_merge($1, null)",
				  SQL_ARGS(arg_text(merge_id)));
	allowed = requester == DatumGetObjectId(owner_value(0, 1, &isnull));
	allowed = allowed && !isnull;
	owner_commit_transaction(&session);
	if (!allowed)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("there is no merge of yours to undo"),
						errhint("Use steep_repl.undo_merge().")));
	return merge_id;
}

/* Connect, and find out what an earlier attempt left undecided. */
static void
connect_to_peer(JobRun *run)
{
	MergeRun *merge = palloc0_object(MergeRun);
	const char *dry_run = param(run, "dry_run");

	if (strcmp(run->operation, "merge_undo") == 0)
		merge->undoes = merge_to_undo(run);
	merge->dry_run = merge->undoes == NULL && dry_run != NULL && strcmp(dry_run, "true") == 0;
	requester_begin();
	merge->connection = requester_open_peer(run);
	run->merge = merge;
	requester_commit();
	if (merge->undoes != NULL)
		merge_settle_intents(run, merge->undoes);
	merge_settle_intents(run, run->job->object_id);
}

/* Connect, plan all tables, and gather what stands in the way. */
void
merge_open_peer(JobRun *run, Jsonb *action)
{
	enum
	{
		N_TABLES,
		NAMES,
		KEYS,
		FACTS,
		SKIPPED,
		N_OPENED
	};
	char *opened[N_OPENED];
	OwnerSession session;

	connect_to_peer(run);
	requester_begin();
	requester_texts(run, opened, N_OPENED,
					"select * from steep_repl._merge_open($1, $2::jsonb, $3)",
					SQL_ARGS(arg_text(run->merge->connection), arg_text(run->params),
							 arg_bool(run->merge->undoes != NULL)));
	merge_tables_keep(run, pg_strtoint32(opened[N_TABLES]), opened[NAMES], opened[KEYS]);
	requester_commit();

	pg_atomic_write_u32(&run->job->counters.tables_total, run->merge->n_tables);
	owner_begin_transaction(&session);
	owner_execute("update steep_repl.merges set tables = $2::text[] where operation_id = $1",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(opened[NAMES])));
	owner_execute("select steep_repl._merge_keep_skipped($1, $2::jsonb)",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(opened[SKIPPED])));
	owner_commit_transaction(&session);
	if (opened[FACTS][0] != '{')
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("the facts of a merge are no object")));
	/* the members of the object */
	appendBinaryStringInfo(&run->facts, opened[FACTS] + 1, strlen(opened[FACTS]) - 2);
}

/* Any role can hold the locks of a turn: unless a merge of this database does, they are not waited for longer. */
#define STRANGER_WAIT_MS (10 * 60 * 1000)

static bool
another_merge_runs(JobRun *run)
{
	OwnerSession session;
	bool isnull;
	bool result;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._merge_others_run($1)",
				  SQL_ARGS(arg_text(run->job->object_id)));
	result = DatumGetBool(owner_value(0, 1, &isnull));
	owner_commit_transaction(&session);
	return result;
}

static bool
try_turn(JobRun *run)
{
	bool result;

	requester_begin();
	result = requester_count(run, "select steep_repl._merge_take_turn($1, true)::int",
							 SQL_ARGS(arg_text(run->merge->connection))) == 1;
	requester_commit();
	return result;
}

/* No transaction is open, on either side, while others are waited for. */
static void
take_turn(JobRun *run)
{
	static uint32 event = 0;
	TimestampTz began = GetCurrentTimestamp();
	bool has_waited = false;

	if (event == 0)
		event = WaitEventExtensionNew("SteepReplMergeTurn");
	while (!try_turn(run))
	{
		has_waited = true;
		run_set_waiting(run, "another merge of the same tables");
		if (TimestampDifferenceExceeds(began, GetCurrentTimestamp(), STRANGER_WAIT_MS) &&
			!another_merge_runs(run))
		{
			record_warnings(run,
							"[\"another session has held the turn of these tables for ten minutes, "
							"so that they were merged beside it: compare them again\"]");
			break;
		}
		run_wait(run, event);
		CHECK_FOR_INTERRUPTS();
	}
	run_set_waiting(run, NULL);
	if (!has_waited)
		return;
	requester_begin();
	requester_call(
		run, "select steep_repl._merge_refuse_anew($1, $2)",
		SQL_ARGS(arg_text(run->merge->connection), arg_bool(run->merge->undoes != NULL)));
	requester_commit();
}

/* All is well: prepare both sessions for writing. */
void
merge_begin(JobRun *run, Jsonb *action)
{
	MergeRun *merge = run->merge;

	merge->replicates = action_flag(action, "replicates");
	merge->discards = action_flag(action, "discards");
	if (!merge->dry_run)
		take_turn(run);
	requester_begin();
	requester_call(run, "select steep_repl._merge_begin($1, $2, $3, $4)",
				   SQL_ARGS(arg_text(merge->connection), arg_text(run->job->object_id),
							arg_bool(merge->replicates), arg_bool(merge->discards)));
	merge->origin = origin_take();
	if (worker_may_skip_triggers())
		SetConfigOption("session_replication_role", "replica", PGC_SUSET, PGC_S_OVERRIDE);
	requester_commit();
	appendStringInfo(&run->facts, "\"tables\":%d", merge->n_tables);
	merge_expect_compare(run);
}
