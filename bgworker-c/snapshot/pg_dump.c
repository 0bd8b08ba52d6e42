/*
 * pg_dump.c
 *	  Has pg_dump describe the schema.
 *
 * A well-kept program that knows every kind of object is better than a DDL
 * generator of our own.  Data and statistics are not its business here, and
 * large objects are in no snapshot.
 */
#include "postgres.h"

#include <sys/wait.h>

#include "snapshot/child_process.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "snapshot/pg_dump.h"
#include "snapshot/pg_dump_local.h"
#include "base/settings.h"

#define MAX_ARGUMENTS 24

typedef struct Arguments
{
	const char *items[MAX_ARGUMENTS + 1]; /* NULL-terminated */
	int count;
} Arguments;

static void
add_argument(Arguments *arguments, const char *argument)
{
	Assert(arguments->count < MAX_ARGUMENTS);
	arguments->items[arguments->count++] = argument;
}

/* The command line; what it leaves to defaults, pg_dump's are right for. */
static void
build_arguments(const PgDumpRequest *request, Arguments *arguments)
{
	const char *program = request->program;
	const char *conninfo = request->conninfo;

	if (program == NULL || program[0] == '\0')
		program = pg_dump_default_path();
	if (conninfo == NULL || conninfo[0] == '\0')
		conninfo = pg_dump_default_conninfo();

	add_argument(arguments, program);
	add_argument(arguments, "--format=custom");
	add_argument(arguments, "--compress=none");
	add_argument(arguments, "--schema-only");
	add_argument(arguments, "--sequence-data");
	add_argument(arguments, "--no-statistics");
	add_argument(arguments, "--no-large-objects");
	add_argument(arguments, "--no-password");
	add_argument(arguments, "--exclude-extension=" STEEP_NAME);
	add_argument(arguments, "--exclude-schema=" STEEP_NAME);
	add_argument(arguments, psprintf("--encoding=%s", GetDatabaseEncodingName()));
	add_argument(arguments, psprintf("--dbname=%s", conninfo));
	if (request->snapshot != NULL)
		add_argument(arguments, psprintf("--snapshot=%s", request->snapshot));
	if (request->lock_timeout_ms > 0)
		add_argument(arguments, psprintf("--lock-wait-timeout=%d", request->lock_timeout_ms));
	if (request->tables != NIL || request->schemas != NIL)
	{
		add_argument(arguments, "--filter=-");
		add_argument(arguments, "--strict-names");
	}
}

/*
 * Append a name as a pattern that matches nothing else.  A filter file loses
 * line ends inside of quotes; outside of them the pattern is a regular
 * expression, and that has an escape for them.
 */
static void
append_pattern(StringInfo filter, const char *name)
{
	appendStringInfoChar(filter, '"');
	for (const char *c = name; *c != '\0'; c++)
	{
		if (*c == '"')
			appendStringInfoString(filter, "\"\"");
		else if (*c == '\\')
			appendStringInfoString(filter, "\\\\");
		else if (*c == '\n')
			appendStringInfoString(filter, "\"\\n\"");
		else if (*c == '\r')
			appendStringInfoString(filter, "\"\\r\"");
		else
			appendStringInfoChar(filter, *c);
	}
	appendStringInfoChar(filter, '"');
}

/* The objects to dump, as pg_dump --filter reads them. */
static void
build_filter(const PgDumpRequest *request, StringInfo filter)
{
	ListCell *cell;

	initStringInfo(filter);
	foreach (cell, request->schemas)
	{
		appendStringInfoString(filter, "include schema ");
		append_pattern(filter, lfirst(cell));
		appendStringInfoChar(filter, '\n');
	}
	foreach (cell, request->tables)
	{
		PgDumpTable *table = lfirst(cell);

		appendStringInfo(filter, "%s table_and_children ", table->excluded ? "exclude" : "include");
		append_pattern(filter, table->schema);
		appendStringInfoChar(filter, '.');
		append_pattern(filter, table->table);
		appendStringInfoChar(filter, '\n');
	}
}

/* Raise that the program could not be started. */
pg_noreturn static void
not_started(const char *program, int reason)
{
	errno = reason;
	ereport(ERROR, (errcode_for_file_access(), errmsg("could not execute \"%s\": %m", program),
					errhint("Set \"%s\" to the path of a pg_dump of this server's version.",
							"steep_repl.pg_dump_path")));
}

/* What to do about a failure, told from pg_dump's words; NULL if unknown. */
static const char *
hint_for(const char *errors)
{
	if (strstr(errors, "server version mismatch") != NULL ||
		strstr(errors, "unrecognized option") != NULL)
		return "Set \"steep_repl.pg_dump_path\" to the path of a pg_dump of this server's version.";
	if (strstr(errors, "connection to server") != NULL ||
		strstr(errors, "could not translate host name") != NULL)
		return "Set \"steep_repl.local_conninfo\" to a connection string that lets pg_dump connect to this server as a superuser.";
	if (strstr(errors, "permission denied") != NULL)
		return "The user of \"steep_repl.local_conninfo\" must be allowed to read everything in the database.";
	return NULL;
}

/*
 * Whether pg_dump waited too long for a lock; it bounds that wait, and nothing
 * else, with statement_timeout.  The server words this in its own language,
 * which is ours too.
 */
static bool
is_lock_timeout(const char *errors)
{
	static const char *const message = gettext_noop("canceling statement due to statement timeout");

	return strstr(errors, message) != NULL || strstr(errors, _(message)) != NULL;
}

/* Whether a query failed that may succeed next time; pg_dump speaks English to us. */
static bool
is_query_failure(const char *errors)
{
	return strstr(errors, "query failed") != NULL && !is_lock_timeout(errors) &&
		   hint_for(errors) == NULL;
}

/* Raise what pg_dump complained of. */
pg_noreturn static void
failed(const char *program, const ChildResult *result)
{
	const char *hint = hint_for(result->errors);

	if (is_lock_timeout(result->errors))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("pg_dump could not lock a table in time"), errdetail("%s", result->errors),
				 errhint("Try again when no other transaction changes the schema, or raise \"%s\".",
						 "steep_repl.lock_timeout")));
	ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
					errmsg("\"%s\" failed: %s", program, wait_result_to_str(result->status)),
					result->errors[0] != '\0' ? errdetail("%s", result->errors) : 0,
					hint != NULL ? errhint("%s", hint) : 0));
}

/* A command that is ready to run. */
struct PgDumpCommand
{
	Arguments arguments;
	StringInfoData filter;
	const char *const *environment;
};

/*
 * Make the command, in the caller's memory context. Needs a transaction, for
 * names that the catalogs hold; running it needs none.
 */
PgDumpCommand *
pg_dump_prepare(const PgDumpRequest *request)
{
	PgDumpCommand *command = palloc0_object(PgDumpCommand);

	build_arguments(request, &command->arguments);
	build_filter(request, &command->filter);
	command->environment = pg_dump_environment(request->application_name);
	return command;
}

/*
 * Run it to its end, calling back about 5 times a second. Returns NULL, or what
 * it said when one of its queries failed: a table that is dropped while it
 * reads the catalogs does that, and another run may succeed.
 */
const char *
pg_dump_run(const PgDumpCommand *command, void (*tick)(void *arg), void *tick_arg,
			ByteBuffer *archive)
{
	const char *program = command->arguments.items[0];
	ChildRequest child = {0};
	ChildResult result;

	child.argv = command->arguments.items;
	child.envp = command->environment;
	child.input = command->filter.data;
	child.input_len = command->filter.len;
	child.tick = tick;
	child.tick_arg = tick_arg;
	child_process_run(&child, &result);

	if (result.spawn_errno != 0)
		not_started(program, result.spawn_errno);
	if (result.status != 0 && is_query_failure(result.errors))
		return result.errors;
	if (result.status != 0)
		failed(program, &result);
	if (result.errors[0] != '\0')
		ereport(LOG, (errmsg("pg_dump warned"), errdetail("%s", result.errors)));
	*archive = result.output;
	return NULL;
}
