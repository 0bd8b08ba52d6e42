/*
 * merge_close.c
 *	  The end of a merge, whether it came to its own or not.
 */
#include "merge/merge.h"

#include "jobs/owner.h"
#include "jobs/requester.h"

/* Ask for warnings, an array that may be empty. */
void
merge_ask_for_warnings(JobRun *run, const char *query)
{
	char *warnings;

	requester_begin();
	warnings = requester_text(run, query, SQL_ARGS(arg_text(run->merge->connection)));
	requester_commit();
	if (strcmp(warnings, "[]") != 0)
		record_warnings(run, warnings);
}

/* Leave the peer as it was. */
static void
tidy_up(JobRun *run, bool has_failed)
{
	requester_begin();
	requester_call(run, "select steep_repl._merge_close($1, $2, $3)",
				   SQL_ARGS(arg_text(run->merge->connection), arg_text(run->job->object_id),
							arg_bool(has_failed)));
	requester_commit();
}

static void
leave(JobRun *run)
{
	/* what has yet to be done; and what failed may have done so since somebody has altered or dropped a table */
	if (run->merge->n_steps > 0)
		merge_ask_for_warnings(run, "select to_json(steep_repl._merge_unfinished($1))");
	tidy_up(run, true);
	if (!run->merge->is_in_doubt)
	{
		merge_forget_intents(run);
		return;
	}
	requester_begin();
	run->merge->connection = requester_open_peer(run);
	requester_commit();
	merge_settle_intents(run, run->job->object_id);
	tidy_up(run, true);
}

/*
 * The job has failed or was cancelled. What is known of the last batch at the
 * peer is written down, or asked for over a new connection. If that fails, too,
 * the batch stays in doubt until the job is retried.
 */
void
merge_give_up(JobRun *run)
{
	if (run->merge != NULL)
		run_try(run, leave);
	run->merge = NULL;
}

void
merge_close_peer(JobRun *run, Jsonb *action)
{
	merge_forget_intents(run);
	tidy_up(run, false);
	run->merge = NULL;
}
