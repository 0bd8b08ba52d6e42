/*
 * requester.c
 *	  SQL of a job that runs with the rights of the role that asked for it.
 */
#include "jobs/requester.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "jobs/peer_secret.h"
#include "utils/snapmgr.h"

void
requester_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
requester_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * Run a statement and copy its one row, as text, into the job's memory. The
 * requester's own code may have made anything of our temporary tables: so one
 * row of so many columns is not taken for granted, and each may be NULL.
 */
void
requester_select(JobRun *run, char **results, int n_results, const char *sql, int n,
				 const SqlArg *args)
{
	SPI_connect();
	if (sql_execute(sql, n, args) != SPI_OK_SELECT || SPI_processed != 1 ||
		SPI_tuptable->tupdesc->natts != n_results)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("not one answer to: %s", sql)));
	for (int i = 0; i < n_results; i++)
	{
		char *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);

		results[i] = text ? MemoryContextStrdup(run->context, text) : NULL;
	}
	SPI_finish();
}

/* The same of texts of which none may be NULL. */
void
requester_texts(JobRun *run, char **results, int n_results, const char *sql, int n,
				const SqlArg *args)
{
	requester_select(run, results, n_results, sql, n, args);
	for (int i = 0; i < n_results; i++)
		if (results[i] == NULL)
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("no answer to: %s", sql)));
}

/* Of a function whose answer says nothing. */
void
requester_call(JobRun *run, const char *sql, int n, const SqlArg *args)
{
	char *nothing;

	requester_select(run, &nothing, 1, sql, n, args);
}

char *
requester_text(JobRun *run, const char *sql, int n, const SqlArg *args)
{
	char *result;

	requester_texts(run, &result, 1, sql, n, args);
	return result;
}

/* A number from 0. */
int
requester_count(JobRun *run, const char *sql, int n, const SqlArg *args)
{
	int result = pg_strtoint32(requester_text(run, sql, n, args));

	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("no count is the answer to: %s", sql)));
	return result;
}

/* The connection string that was kept for the job, or the name in its parameters. */
static char *
find_peer(JobRun *run)
{
	char *peer = peer_secret_find(run->job->id);
	char *found[2];

	if (peer != NULL)
		return peer;
	requester_select(run, found, 2, "select $1::jsonb ->> 'peer', $1::jsonb ->> 'is_conninfo'",
					 SQL_ARGS(arg_text(run->params)));
	if (found[1] != NULL && strcmp(found[1], "true") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the connection string of this operation is gone"),
				 errdetail("It is kept in memory only, until the operation or the server ends."),
				 errhint("Give it again: select steep_repl.retry_operation(" INT64_FORMAT
						 ", peer => '...'). The name of a foreign server would last.",
						 run->job->id)));
	if (found[0] == NULL)
		elog(ERROR, "job without a peer");
	return found[0];
}

/* Connect to the job's peer; the name of the connection, for dblink. Inside a transaction. */
char *
requester_open_peer(JobRun *run)
{
	return requester_text(run, "select steep_repl._peer_open($1)",
						  SQL_ARGS(arg_text(find_peer(run))));
}

/* In a transaction of its own. */
void
requester_close_peer(JobRun *run, const char *connection)
{
	requester_begin();
	requester_call(run, "select steep_repl._peer_close($1)", SQL_ARGS(arg_text(connection)));
	requester_commit();
}
