/*
 * planner.c
 *	  Asks TypeScript what a job does next.
 */
#include "workers/planner.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
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
	values[0] = CStringGetTextDatum(planner_request(run));
	if (SPI_execute_with_args("select steep_repl._call('next_action', $1::jsonb)", 1, types, values,
							  NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the planner did not answer");
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
