/*
 * free_space.c
 *	  How much room a server has left.
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "base/settings.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(steep_repl_pair_space);

/* Bytes that are free where a path leads; -1 where that is not known. */
static int64
free_bytes(const char *path)
{
	struct statvfs fs;

	if (path == NULL || statvfs(path, &fs) != 0)
		return -1;
	return (int64) fs.f_bavail * (int64) fs.f_frsize;
}

/* How much room there is for data, and for snapshots: in the first directory that the setting names. The caller names no path. */
Datum
steep_repl_pair_space(PG_FUNCTION_ARGS)
{
	char *directories = pstrdup(steep_snapshot_directories);
	List *list = NIL;
	const char *first = NULL;

	if (SplitDirectoriesString(directories, ',', &list) && list != NIL)
		first = linitial(list);
	PG_RETURN_TEXT_P(
		cstring_to_text(psprintf("{\"data\":" INT64_FORMAT ",\"snapshots\":" INT64_FORMAT "}",
								 free_bytes(DataDir), free_bytes(first))));
}
