/*
 * pair_actions.c
 *	  The actions of a pair, as plv8/pair/pair.ts orders them: statements here and
 *	  at the peer, with the requester's rights, and waiting. After each, what there
 *	  is of the pair is looked at anew, and that is what the next is decided by.
 */
#include "jobs/run.h"

#include "jobs/owner.h"
#include "jobs/requester.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* How often that which is waited for is looked at: less and less. */
#define FIRST_LOOK_MS 50
#define LAST_LOOK_MS 1000

struct PairRun
{
	char *connection; /* to the peer, by its name */
	char *last;       /* statement, or NULL */
};

/* What there is, as facts for TypeScript: the members of a JSON object. */
static void
look(JobRun *run)
{
	char *found;

	requester_begin();
	found = requester_text(run, "select steep_repl._pair_look($1, $2::jsonb, $3)",
						   SQL_ARGS(arg_text(run->pair->connection), arg_text(run->params),
									arg_text(run->job->object_id)));
	requester_commit();
	/* without its braces: jsonb's own text, of an object that is never empty */
	appendBinaryStringInfo(&run->facts, found + 1, strlen(found) - 2);
	pfree(found);
}

static void
open_peer(JobRun *run, Jsonb *action)
{
	PairRun *pair = MemoryContextAllocZero(run->context, sizeof(PairRun));

	requester_begin();
	pair->connection = requester_open_peer(run);
	requester_commit();
	run->pair = pair;
	requester_begin();
	requester_call(run, "select steep_repl._pair_begin($1, $2::jsonb ->> 'peer')",
				   SQL_ARGS(arg_text(pair->connection), arg_text(run->params)));
	requester_commit();
	look(run);
}

/* One that changes nothing that is looked at would be planned again for ever. */
static void
check_progress(JobRun *run, const char *side, const char *sql)
{
	char *now = psprintf("%s: %s", side, sql);

	if (run->pair->last != NULL && strcmp(run->pair->last, now) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a step of the pair had no effect"), errdetail("It was: %s", now),
				 errhint("See what keeps it from that, then go on with retry_operation().")));
	run->pair->last = MemoryContextStrdup(run->context, now);
}

/* What the statement answers, and that it was done, are written down in the transaction of what it did here. */
static void
statement(JobRun *run, Jsonb *action)
{
	const char *side = action_text(action, "side");
	const char *sql = action_text(action, "sql");
	char *answer;
	OwnerSession session;

	check_progress(run, side, sql);
	requester_begin();
	requester_select(run, &answer, 1, "select steep_repl._pair_run($1, $2, $3)",
					 SQL_ARGS(arg_text(run->pair->connection), arg_text(side), arg_text(sql)));
	owner_begin(&session);
	owner_execute("select steep_repl._pair_keep($1, $2, $3, $4)",
				  SQL_ARGS(arg_int8(run->job->id), arg_text(action_text(action, "step")),
						   arg_text(action_text(action, "keeps")), arg_text(answer)));
	owner_end(&session);
	requester_commit();
	look(run);
}

/* What is yet to come, for whoever watches; false if nothing is. */
static bool
still_waits(JobRun *run, const char *side, const char *sql)
{
	char *answer;
	bool waits;

	requester_begin();
	answer =
		requester_text(run, "select steep_repl._pair_run($1, $2, $3)",
					   SQL_ARGS(arg_text(run->pair->connection), arg_text(side), arg_text(sql)));
	requester_commit();
	waits = answer[0] != '\0';
	run_set_waiting(run, waits ? answer : NULL);
	pfree(answer);
	return waits;
}

static void
wait_for(JobRun *run, Jsonb *action)
{
	const char *side = action_text(action, "side");
	const char *sql = action_text(action, "sql");
	int interval = FIRST_LOOK_MS;
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplPairWait");
	while (still_waits(run, side, sql))
	{
		TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), interval);

		do
		{
			worker_check_cancel(run->job);
			CHECK_FOR_INTERRUPTS();
			run_wait(run, wait_event);
		} while (GetCurrentTimestamp() < until);
		interval = Min(interval * 2, LAST_LOOK_MS);
	}
	look(run);
}

static void
close_peer(JobRun *run, Jsonb *action)
{
	requester_close_peer(run, run->pair->connection);
	run->pair = NULL;
}

/* Of one that was cancelled nothing stays, unless the nodes replicate already. */
static void
remove_what_was_made(JobRun *run)
{
	char *results[2];
	OwnerSession session;

	requester_begin();
	run->pair->connection = requester_open_peer(run);
	requester_select(
		run, results, 2,
		"select c.warnings, c.is_removed from steep_repl._pair_cancelled($1, $2::jsonb, $3) c",
		SQL_ARGS(arg_text(run->pair->connection), arg_text(run->params),
				 arg_text(run->job->object_id)));
	requester_commit();
	if (strcmp(results[0], "[]") != 0)
		record_warnings(run, results[0]);
	if (strcmp(results[1], "yes") != 0)
		return;
	owner_begin_transaction(&session);
	owner_execute("select steep_repl._pair_removed($1)", SQL_ARGS(arg_int8(run->job->id)));
	owner_commit_transaction(&session);
}

static void
give_up(JobRun *run)
{
	if (run->pair != NULL && worker_is_cancelled(run->job) && !run_try(run, remove_what_was_made))
		record_warnings(run, "[\"what was made could not be removed, see the server log: "
							 "drop_pair() removes it\"]");
}

static const Action actions[] = {
	{"open_peer", "planning", {ACTION_START}, open_peer},
	{"statement",
	 NULL,
	 {"open_peer", "statement", "wait"},
	 statement,
	 {{"step", MEMBER_TEXT},
	  {"side", MEMBER_TEXT},
	  {"sql", MEMBER_TEXT},
	  {"keeps", MEMBER_TEXT, true}}},
	{"wait",
	 NULL,
	 {"open_peer", "statement", "wait"},
	 wait_for,
	 {{"side", MEMBER_TEXT}, {"sql", MEMBER_TEXT}}},
	{"close_peer", "finalizing", {"open_peer", "statement", "wait"}, close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable pair_actions = ACTION_TABLE("pair", true, actions, give_up);
