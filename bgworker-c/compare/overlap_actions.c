/*
 * overlap_actions.c
 *	  The actions of an overlap job, as plv8/overlap/overlap.ts orders them. Rows are
 *	  compared by SQL with the requester's rights, as analyze_overlap does it;
 *	  what is found is then written down as the extension's owner.
 */
#include "jobs/run.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "replication/origin.h"
#include "base/compat.h"
#include "jobs/requester.h"
#include "jobs/rows_progress.h"
#include "utils/builtins.h"

/* Rows that are written down with one statement. */
#define ROWS_PER_INSERT 2000

struct OverlapRun
{
	char *connection; /* to the peer, by its name */
	int n_tables;
	int n_compared;
};

/* What comparing a table found, as text; the last of the positions is what is behind them. */
typedef enum Found
{
	FOUND_TABLE,
	FOUND_COUNTS,
	FOUND_POSITIONS = FOUND_COUNTS + 5,
	N_FOUND = FOUND_POSITIONS + 5
} Found;

/* What an earlier attempt found is void. */
static void
forget_results(JobRun *run)
{
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._overlap_forget($1)", SQL_ARGS(arg_text(run->job->object_id)));
	owner_commit_transaction(&session);
}

/* How far the comparison is, for TypeScript. */
static void
report_compared(JobRun *run)
{
	OverlapRun *overlap = run->overlap;

	run->expected = overlap->n_compared < overlap->n_tables ? "compare" : "close_peer";
	appendStringInfo(&run->facts, "\"compared\":%d,\"tables\":%d", overlap->n_compared,
					 overlap->n_tables);
}

/* Connect, and plan all tables before the first is read. */
static void
open_peer(JobRun *run, Jsonb *action)
{
	OverlapRun *overlap = palloc0_object(OverlapRun);
	OwnerSession session;
	char *opened[3];

	forget_results(run);
	requester_begin();
	overlap->connection = requester_open_peer(run);
	requester_texts(run, opened, 3, "select * from steep_repl._overlap_open($1, $2::jsonb)",
					SQL_ARGS(arg_text(overlap->connection), arg_text(run->params)));
	requester_commit();

	overlap->n_tables = pg_strtoint32(opened[0]);
	run->overlap = overlap;
	pg_atomic_write_u32(&run->job->counters.tables_total, overlap->n_tables);
	owner_begin_transaction(&session);
	owner_execute("update steep_repl.overlaps set tables = $2::text[] where operation_id = $1",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(opened[1])));
	owner_execute("select steep_repl._overlap_keep_skipped($1, $2::jsonb)",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(opened[2])));
	owner_commit_transaction(&session);
	report_compared(run);
}

/*
 * Write down the rows that differ: read as the requester, whose temporary table
 * it is, and inserted as the owner.
 */
static void
keep_rows(JobRun *run, const char *table, const char *key)
{
	int last = 0;

	for (;;)
	{
		OwnerSession session;
		char *found[5];

		requester_select(run, found, 5,
						 "select * from steep_repl._overlap_differing($1, $2::text[], $3)",
						 SQL_ARGS(arg_int4(last), arg_text(key), arg_int4(ROWS_PER_INSERT)));
		if (found[0] == NULL)
			break;
		last = pg_strtoint32(found[0]);
		for (int i = 1; i < 5; i++)
			if (found[i] == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_EXCEPTION), errmsg("rows that differ lack a part")));
		owner_begin(&session);
		owner_execute("select steep_repl._overlap_keep_rows($1, $2, $3, $4, $5, $6)",
					  SQL_ARGS(arg_text(run->job->object_id), arg_text(table), arg_text(found[1]),
							   arg_text(found[2]), arg_text(found[3]), arg_text(found[4])));
		owner_end(&session);
		for (int i = 0; i < 5; i++)
			pfree(found[i]);
		CHECK_FOR_INTERRUPTS();
	}
}

/* A table's counts and the positions that they hold for. */
static void
keep_counts(JobRun *run, char **plan, char **found)
{
	OwnerSession session;

	owner_begin(&session);
	owner_execute("select steep_repl._overlap_keep_counts($1, $2, $3, $4, $5)",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(plan[0]), arg_text(plan[1]),
						   arg_texts(found + FOUND_COUNTS, FOUND_POSITIONS - FOUND_COUNTS),
						   arg_texts(found + FOUND_POSITIONS, N_FOUND - FOUND_POSITIONS)));
	owner_end(&session);
}

/* Compare one table; its counts and rows appear together. */
static void
compare(JobRun *run, Jsonb *action)
{
	int no = action_int(action, "no", 0);
	char *plan[2];
	char *found[N_FOUND];

	action_check_number(no, run->overlap->n_compared + 1);
	requester_begin();
	requester_texts(run, plan, 2, "select * from steep_repl._overlap_planned($1)",
					SQL_ARGS(arg_int4(no)));
	requester_commit();
	run_show_table(run, plan[0]);
	rows_progress_begin_table(run, no);

	requester_begin();
	requester_texts(
		run, found, N_FOUND, "select * from steep_repl._overlap_compare($1, $2::jsonb, $3)",
		SQL_ARGS(arg_text(run->overlap->connection), arg_text(run->params), arg_int4(no)));
	transaction_origin = DoNotReplicateId;
	keep_rows(run, plan[0], plan[1]);
	keep_counts(run, plan, found);
	requester_commit();
	transaction_origin = InvalidReplOriginId;

	pg_atomic_write_u32(&run->job->counters.tables_done, no);
	rows_progress_end_table(run);
	run->overlap->n_compared = no;
	report_compared(run);
}

static void
close_peer(JobRun *run, Jsonb *action)
{
	requester_begin();
	requester_call(run, "select steep_repl._overlap_end($1)",
				   SQL_ARGS(arg_text(run->overlap->connection)));
	requester_commit();
}

static const Action actions[] = {
	{"open_peer", "planning", {ACTION_START}, open_peer},
	{"compare", "comparing", {"open_peer", "compare"}, compare, {{"no", MEMBER_COUNT}}},
	{"close_peer", "finalizing", {"open_peer", "compare"}, close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable overlap_actions = ACTION_TABLE("overlap", false, actions, NULL);
