/*
 * apply_open.c
 *	  The first action of an apply job: reads the archive, and which of it is
 *	  to be applied.
 */
#include "apply/apply.h"

#include "access/xact.h"
#include "files/directory.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "toc/toc_statement.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"

/* The tables to limit the job to, one a line; NIL = all. */
static List *
read_tables(Jsonb *action)
{
	JsonbValue value;
	Jsonb *array;
	JsonbIterator *it;
	JsonbIteratorToken token;
	List *tables = NIL;

	if (getKeyJsonValueFromContainer(&action->root, "tables", 6, &value) == NULL ||
		value.type != jbvBinary)
		return NIL;
	array = JsonbValueToJsonb(&value);
	it = JsonbIteratorInit(&array->root);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		List *names;

		if (token != WJB_ELEM || value.type != jbvString)
			continue;
		names =
			stringToQualifiedNameList(pnstrdup(value.val.string.val, value.val.string.len), NULL);
		if (list_length(names) != 2)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("table \"%.*s\" is not of the form schema.table",
								   value.val.string.len, value.val.string.val)));
		tables = lappend(tables, makeRangeVar(strVal(linitial(names)), strVal(lsecond(names)), -1));
	}
	return tables;
}

static void
read_options(ApplyRun *apply, Jsonb *action)
{
	apply->path = directory_normalize(action_text(action, "path"));
	apply->selection.pre_data = action_flag(action, "pre_data");
	apply->selection.data = action_flag(action, "data");
	apply->selection.post_data = action_flag(action, "post_data");
	apply->selection.no_privileges = action_flag(action, "no_privileges");
	apply->selection.tables = read_tables(action);
	apply->no_owner = action_flag(action, "no_owner");
	apply->truncate = action_flag(action, "truncate");
}

/* The manifest, after both checks of the right to read it. */
static void
open_manifest(JobRun *run)
{
	ApplyRun *apply = run->apply;

	directory_check_read_rights(apply->path, NULL);
	run->dirfd = directory_open(apply->path);
	apply->manifest = apply_read_manifest(run->dirfd, apply->path);
	directory_check_read_rights(apply->path, apply->manifest);
	apply->files = apply_index_files(apply->manifest);
	if (!codec_from_name(apply->manifest->compression, &apply->codec))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the snapshot has unknown compression \"%s\"",
							   apply->manifest->compression)));
	apply->encoding = pg_char_to_encoding(apply->manifest->encoding);
	if (!PG_VALID_BE_ENCODING(apply->encoding))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the snapshot has unknown encoding \"%s\"", apply->manifest->encoding)));
	SpinLockAcquire(&run->job->mutex);
	strlcpy(run->job->path, apply->path, MAXPGPATH);
	SpinLockRelease(&run->job->mutex);
}

/* Which of the archive's entries are to be applied. */
static void
select_entries(JobRun *run)
{
	ApplyRun *apply = run->apply;
	const ManifestFile *file = apply_find_file(apply->files, TOC_FILE);
	ByteBuffer text = apply_read_toc_file(run->dirfd, file->stored_bytes, file->frames[0].sha256);
	List *missing = NIL;
	StringInfoData names;
	ListCell *lc;

	apply->toc = toc_read(text.data, text.len);
	pfree(text.data);
	toc_convert(apply->toc, apply->encoding);
	apply->stages = toc_select(apply->toc, &apply->selection, &missing);
	if (missing == NIL)
		return;
	initStringInfo(&names);
	foreach (lc, missing)
	{
		RangeVar *name = lfirst(lc);

		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 quote_qualified_identifier(name->schemaname, name->relname));
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
					errmsg("the snapshot does not contain %s", names.data)));
}

/* Read the archive and what of it is done already. */
void
apply_open_archive(JobRun *run, Jsonb *action)
{
	ApplyRun *apply = MemoryContextAllocZero(run->context, sizeof(ApplyRun));

	run->apply = apply;
	StartTransactionCommand(); /* rights and conversions are looked up in catalogs */
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(run->context);
	read_options(apply, action);
	open_manifest(run);
	apply->done = apply_marks_read(run->job->id);
	select_entries(run);
	apply_check_same_archive(run);
	apply_list_targets(apply);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	record_source(run, apply->manifest);
}
