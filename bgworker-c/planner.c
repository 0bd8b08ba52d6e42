/*
 * planner.c
 *	  Asks TypeScript what a job does next.
 */
#include "coordinator.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "session.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/snapmgr.h"

/* What TypeScript is told: the operation, what was done, its parameters, facts. */
static char *
planner_request(JobRun *run)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"operation\":");
	escape_json(&json, run->operation);
	appendStringInfoString(&json, ",\"done\":");
	if (run->done == NULL)
		appendStringInfoString(&json, "null");
	else
		escape_json(&json, run->done);
	appendStringInfo(&json, ",\"params\":%s,\"facts\":{%s}}", run->params, run->facts.data);
	return json.data;
}

static void
hold_signals(int how)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(how, &signals, NULL);
}

/*
 * Load the JavaScript engine. PL/JS takes the signal handlers when it is loaded,
 * so a SIGTERM would be lost until we have them back: let it wait.
 */
static void
load_engine(void)
{
	static bool loaded = false;

	if (loaded)
		return;
	hold_signals(SIG_BLOCK);
	PG_TRY();
	{
		SPI_execute("select steep_repl._call('version', '{}')", false, 1);
	}
	PG_CATCH();
	{
		restore_signal_handlers();
		hold_signals(SIG_UNBLOCK);
		PG_RE_THROW();
	}
	PG_END_TRY();
	restore_signal_handlers();
	hold_signals(SIG_UNBLOCK);
	loaded = true;
}

/* Ask TypeScript for the next action, as the requester, in a short transaction. What it answers is yet to be checked. */
Jsonb *
planner_next_action(JobRun *run)
{
	Oid types[] = {TEXTOID};
	Datum values[1];
	MemoryContext old;
	Jsonb *answer;
	bool isnull;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	load_engine();
	values[0] = CStringGetTextDatum(planner_request(run));
	if (SPI_execute_with_args("select steep_repl._call('next_action', $1::jsonb)", 1, types, values,
							  NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the planner did not answer");
	restore_signal_handlers();
	values[0] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		wrong_answer("it is nothing");
	old = MemoryContextSwitchTo(run->context);
	answer = DatumGetJsonbPCopy(values[0]);
	MemoryContextSwitchTo(old);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();

	MemoryContextSwitchTo(run->context);
	return answer;
}
