/*
 * toc_module.c
 *	  Functions for tests: an archive's table of contents, read and written
 *	  without a job around it. Linked with the shim's own files.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "toc/toc_select.h"
#include "toc/toc_format.h"
#include "toc/toc_statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/tuplestore.h"
#include "varatt.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(toc_script);
PG_FUNCTION_INFO_V1(toc_to_directory);

/* An array's strings. */
static List *
to_list(ArrayType *array)
{
	List *list = NIL;
	Datum *elements;
	int count;

	deconstruct_array_builtin(array, TEXTOID, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

static TocSelection
read_selection(FunctionCallInfo fcinfo)
{
	TocSelection selection = {.no_privileges = PG_GETARG_BOOL(2)};

	foreach_ptr (char, section, to_list(PG_GETARG_ARRAYTYPE_P(3)))
	{
		selection.pre_data |= strcmp(section, "pre-data") == 0;
		selection.data |= strcmp(section, "data") == 0;
		selection.post_data |= strcmp(section, "post-data") == 0;
	}
	foreach_ptr (char, table, to_list(PG_GETARG_ARRAYTYPE_P(4)))
		selection.tables = lappend(
			selection.tables, makeRangeVarFromNameList(stringToQualifiedNameList(table, NULL)));
	return selection;
}

/* Refuse tables that the archive has not. */
static void
check_missing(const List *missing)
{
	const RangeVar *first = missing != NIL ? linitial_node(RangeVar, missing) : NULL;

	if (first != NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("archive has no table %s",
							   quote_qualified_identifier(first->schemaname, first->relname))));
}

/* Append what one stage runs. */
static void
put_stage(ReturnSetInfo *result, const Toc *toc, const ApplyStage *stages, ApplyStage stage,
		  bool no_owner)
{
	for (int i = 0; i < toc->entries.count; i++)
	{
		const TocEntry *entry = toc->entries.items[i];
		const char *sql;
		Datum value;
		bool null = false;

		if (stages[i] != stage)
			continue;
		sql = stage == STAGE_DATA ? entry->copy_stmt : toc_entry_statement(entry, no_owner);
		if (sql == NULL)
			continue;
		value = CStringGetTextDatum(sql);
		tuplestore_putvalues(result->setResult, result->setDesc, &value, &null);
	}
}

/* The statements of an archive in the database's encoding, as they would be applied. */
Datum
toc_script(PG_FUNCTION_ARGS)
{
	bytea *archive = PG_GETARG_BYTEA_PP(0);
	TocSelection selection = read_selection(fcinfo);
	List *missing;
	ApplyStage *stages;
	Toc *toc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	toc = toc_read(VARDATA_ANY(archive), VARSIZE_ANY_EXHDR(archive));
	toc_convert(toc, GetDatabaseEncoding());
	stages = toc_select(toc, &selection, &missing);
	check_missing(missing);
	for (int stage = STAGE_PRE_DATA; stage <= STAGE_LAST; stage++)
		put_stage((ReturnSetInfo *) fcinfo->resultinfo, toc, stages, (ApplyStage) stage,
				  PG_GETARG_BOOL(1));
	return (Datum) 0;
}

/* A custom-format archive without data as the toc.dat of a directory. */
Datum
toc_to_directory(PG_FUNCTION_ARGS)
{
	bytea *archive = PG_GETARG_BYTEA_PP(0);
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ByteBuffer out;
	Codec codec;

	if (!codec_from_name(name, &codec))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown compression method \"%s\"", name)));
	bytebuffer_init(&out, VARHDRSZ);
	bytebuffer_append(&out, "\0\0\0", VARHDRSZ);
	toc_write(toc_read(VARDATA_ANY(archive), VARSIZE_ANY_EXHDR(archive)), codec, &out);
	if (out.len > MaxAllocSize)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("table of contents of %zu bytes is too large", out.len)));
	SET_VARSIZE(out.data, out.len);
	PG_RETURN_BYTEA_P((bytea *) out.data);
}
