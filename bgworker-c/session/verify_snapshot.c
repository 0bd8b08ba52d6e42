/*
 * verify_snapshot.c
 *	  The SQL function over verify.c.
 */
#include "postgres.h"

#include "files/directory.h"
#include "fmgr.h"
#include "funcapi.h"
#include "base/owned_fd.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"
#include "files/verify.h"

PG_FUNCTION_INFO_V1(steep_repl_verify_snapshot);

/* Return a problem as a row. */
static void
put_problem(const SnapshotProblem *problem, void *arg)
{
	ReturnSetInfo *result = arg;
	const char *const columns[] = {problem->file, problem->problem, problem->expected,
								   problem->found};
	Datum values[lengthof(columns)] = {0};
	bool nulls[lengthof(columns)];

	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		nulls[i] = columns[i] == NULL;
		if (!nulls[i])
			values[i] = CStringGetTextDatum(columns[i]);
	}
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* verify_snapshot(path): a row for each problem, none for a sound snapshot. */
Datum
steep_repl_verify_snapshot(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SnapshotProblem problem;
	Manifest *manifest;
	OwnedFd *directory;
	char *path;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("path must not be null")));
	path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	InitMaterializedSRF(fcinfo, 0);

	directory_check_read_rights(path, NULL);
	directory = owned_fd_create(directory_open(path));
	manifest = manifest_read(directory->fd, &problem);
	if (manifest == NULL)
		put_problem(&problem, result);
	else
	{
		directory_check_read_rights(path, manifest);
		verify_files(directory->fd, manifest, put_problem, result);
	}
	owned_fd_close(directory);
	return (Datum) 0;
}
