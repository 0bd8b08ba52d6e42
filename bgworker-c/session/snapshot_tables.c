/*
 * snapshot_tables.c
 *	  Whether a snapshot has the tables that somebody wants of it, asked before
 *	  a job is queued. The job asks again.
 */
#include "apply/apply.h"

#include "base/owned_fd.h"
#include "catalog/pg_type.h"
#include "files/directory.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "toc/toc_statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/regproc.h"

PG_FUNCTION_INFO_V1(steep_repl_missing_tables);

/* The table of contents of a snapshot that the caller may read. */
static Toc *
read_contents(const char *path)
{
	OwnedFd *directory;
	Manifest *manifest;
	const ManifestFile *file;
	ByteBuffer text;
	Toc *toc;
	int encoding;

	directory_check_read_rights(path, NULL);
	directory = owned_fd_create(directory_open(path));
	manifest = apply_read_manifest(directory->fd, path);
	directory_check_read_rights(path, manifest);
	file = apply_find_file(apply_index_files(manifest), TOC_FILE);
	text = apply_read_toc_file(directory->fd, file->stored_bytes, file->frames[0].sha256);
	owned_fd_close(directory);
	toc = toc_read(text.data, text.len);
	encoding = pg_char_to_encoding(manifest->encoding);
	if (PG_VALID_BE_ENCODING(encoding))
		toc_convert(toc, encoding);
	return toc;
}

static List *
read_names(ArrayType *array)
{
	Datum *names;
	bool *nulls;
	int n;
	List *tables = NIL;

	deconstruct_array_builtin(array, TEXTOID, &names, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		List *parts =
			nulls[i] ? NIL : stringToQualifiedNameList(TextDatumGetCString(names[i]), NULL);

		if (list_length(parts) == 2)
			tables =
				lappend(tables, makeRangeVar(strVal(linitial(parts)), strVal(lsecond(parts)), -1));
	}
	return tables;
}

/* Of some tables, those that a snapshot does not have, as SQL writes them; NULL if it has all. */
Datum
steep_repl_missing_tables(PG_FUNCTION_ARGS)
{
	TocSelection selection = {.tables = read_names(PG_GETARG_ARRAYTYPE_P(1))};
	List *missing = NIL;
	StringInfoData names;
	ListCell *lc;

	if (selection.tables == NIL)
		PG_RETURN_NULL();
	(void) toc_select(read_contents(text_to_cstring(PG_GETARG_TEXT_PP(0))), &selection, &missing);
	if (missing == NIL)
		PG_RETURN_NULL();
	initStringInfo(&names);
	foreach (lc, missing)
	{
		RangeVar *name = lfirst(lc);

		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 quote_qualified_identifier(name->schemaname, name->relname));
	}
	PG_RETURN_TEXT_P(cstring_to_text(names.data));
}
