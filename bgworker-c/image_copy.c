/*
 * image_copy.c
 *	  Writes rows from their images, by COPY.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "image_read.h"
#include "miscadmin.h"
#include "row_copy.h"
#include "row_values.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_insert_images);

/* Of the COPY that runs: its source of rows has no argument but COPY's own state. */
static struct
{
	List *columns;
	char *at; /* the next image */
	ImageReader *reader;
	RowValues *values;
	int *fields; /* of the image, for each column */
} input;

static void
begin(CopyFromState copy)
{
	MemoryContext previous = MemoryContextSwitchTo(copy->copycontext);

	input.reader = image_reader_create();
	input.values = row_values_create(copy);
	input.fields = palloc0(list_length(input.columns) * sizeof(int));
	MemoryContextSwitchTo(previous);
}

static void
find_fields(void)
{
	int n_fields;
	const ImageField *fields = image_fields(input.reader, &n_fields);
	ListCell *lc;

	foreach (lc, input.columns)
	{
		const ImageField *field = image_field(input.reader, strVal(lfirst(lc)));

		if (field == NULL)
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
							errmsg("the image of a row lacks column \"%s\"", strVal(lfirst(lc)))));
		input.fields[foreach_current_index(lc)] = (int) (field - fields);
	}
}

static bool
read_row(CopyFromState copy, ExprContext *econtext, Datum *values, bool *nulls)
{
	int n_fields;
	ImageField *fields;
	char *end;

	if (*input.at == '\0')
		return false;
	copy->cur_lineno++;
	copy->line_buf_valid = false;
	end = image_read(input.reader, input.at);
	if (image_shape_is_new(input.reader))
		find_fields();
	/* by which COPY bounds how many rows it holds in memory */
	copy->line_buf.len = (int) (end - input.at);
	if (*end != '\n' && *end != '\0')
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("the image of a row does not end with its line")));
	input.at = end + (*end == '\n');
	fields = image_fields(input.reader, &n_fields);
	for (int i = 0; i < list_length(input.columns); i++)
	{
		ImageField *field = &fields[input.fields[i]];

		row_value_parse(input.values, i, field->value, field->len, values, nulls);
	}
	return true;
}

static List *
names_of(ArrayType *array)
{
	List *names = NIL;
	Datum *elements;
	int n;

	deconstruct_array_builtin(array, TEXTOID, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		names = lappend(names, makeString(TextDatumGetCString(elements[i])));
	return names;
}

/* steep_repl._insert_images(target, columns, images), with the caller's rights; how many rows were written. */
Datum
steep_repl_insert_images(PG_FUNCTION_ARGS)
{
	text *images = PG_GETARG_TEXT_PP(2);
	Relation rel;
	uint64 rows;

	PreventCommandIfReadOnly("COPY FROM");
	input.columns = names_of(PG_GETARG_ARRAYTYPE_P(1));
	input.at = images_copy(VARDATA_ANY(images), VARSIZE_ANY_EXHDR(images));
	rel = table_open(PG_GETARG_OID(0), RowExclusiveLock);
	rows = row_copy(rel, input.columns, begin, read_row);
	table_close(rel, NoLock);
	PG_RETURN_INT64((int64) rows);
}
