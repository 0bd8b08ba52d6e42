/*
 * pg_dump_local.c
 *	  Which pg_dump to run, and how it connects back to this server.
 */
#include "postgres.h"

#include <unistd.h>

#include "catalog/pg_authid_d.h"
#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "snapshot/pg_dump_local.h"
#include "port.h"
#include "postmaster/postmaster.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

extern char **environ;

/* The file "pg_dump" relative to the directory of another path. */
static char *
sibling(const char *path, const char *relative)
{
	char directory[MAXPGPATH];
	char *result;

	strlcpy(directory, path, MAXPGPATH);
	get_parent_directory(directory);
	result = psprintf("%s/%s", directory, relative);
	canonicalize_path(result);
	return result;
}

/*
 * The pg_dump that belongs to this server: beside its executable, or in the
 * bin directory beside the library directory, where the executable was started
 * from elsewhere.  The first is the result also if there is none at all, so
 * that the error message says where it was expected.
 */
const char *
pg_dump_default_path(void)
{
	char *beside_server = sibling(my_exec_path, "pg_dump");
	char *beside_library = sibling(pkglib_path, "bin/pg_dump");

	if (access(beside_server, X_OK) == 0)
		return beside_server;
	if (access(beside_library, X_OK) == 0)
		return beside_library;
	return beside_server;
}

/* The directory of the server's first socket, or a host name without one. */
const char *
pg_dump_local_host(void)
{
	char *directories = pstrdup(Unix_socket_directories);
	List *list;
	char *first;

	if (!SplitDirectoriesString(directories, ',', &list) || list == NIL)
		return "localhost";
	first = linitial(list);
	if (first[0] == '@' || is_absolute_path(first))
		return first;
	return psprintf("%s/%s", DataDir, first);
}

/* Append a setting to a connection string, quoted as libpq wants it. */
static void
append_setting(StringInfo conninfo, const char *keyword, const char *value)
{
	appendStringInfo(conninfo, "%s%s='", conninfo->len > 0 ? " " : "", keyword);
	for (const char *c = value; *c != '\0'; c++)
	{
		if (*c == '\'' || *c == '\\')
			appendStringInfoChar(conninfo, '\\');
		appendStringInfoChar(conninfo, *c);
	}
	appendStringInfoChar(conninfo, '\'');
}

/*
 * The bootstrap superuser over the local socket: whom "peer" authentication
 * lets in, since it bears the name of the account that runs the server.
 */
const char *
pg_dump_default_conninfo(void)
{
	StringInfoData conninfo;
	char port[16];

	snprintf(port, sizeof(port), "%d", PostPortNumber);
	initStringInfo(&conninfo);
	append_setting(&conninfo, "host", pg_dump_local_host());
	append_setting(&conninfo, "port", port);
	append_setting(&conninfo, "user", GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false));
	append_setting(&conninfo, "dbname", get_database_name(MyDatabaseId));
	return conninfo.data;
}

/* Whether the server's environment would change what pg_dump does or says. */
static bool
is_inherited(const char *variable)
{
	return strncmp(variable, "PG", 2) != 0 && strncmp(variable, "LC_", 3) != 0 &&
		   strncmp(variable, "LANG", 4) != 0;
}

/*
 * The environment for pg_dump, NULL-terminated.  What a connection string
 * leaves out defaults to this server and database.
 */
const char *const *
pg_dump_environment(const char *application_name)
{
	const char **result;
	int count = 0;
	int kept = 0;

	while (environ[count] != NULL)
		count++;
	result = palloc_array(const char *, count + 7);
	for (int i = 0; i < count; i++)
	{
		if (is_inherited(environ[i]))
			result[kept++] = environ[i];
	}
	result[kept++] = "LC_ALL=C";
	result[kept++] = psprintf("PGHOST=%s", pg_dump_local_host());
	/* what somebody has set for a database, or for the role; 19 reads standard strings only */
	result[kept++] = "PGOPTIONS=-c role=none -c standard_conforming_strings=on";
	result[kept++] = psprintf("PGPORT=%d", PostPortNumber);
	result[kept++] = psprintf("PGDATABASE=%s", get_database_name(MyDatabaseId));
	if (application_name != NULL)
		result[kept++] = psprintf("PGAPPNAME=%s", application_name);
	result[kept] = NULL;
	return result;
}
