/*
 * copy_rows.c
 *	  COPY FROM with our own reader of rows.
 *
 * COPY does all that follows on a row: constraints, defaults, triggers,
 * partitions, the heap and its indexes.  Since version 18 the format is a
 * table of functions, of which one reads a row.
 */
#include "text/copy_rows.h"

#include "commands/copyapi.h"
#include "commands/progress.h"
#include "text/row_values.h"
#include "utils/backend_progress.h"
#include "utils/rel.h"

#define LINE_BYTES 128

/* Of the COPY that runs: the reader has no argument but COPY's own state. */
static struct
{
	RowFields *rows;
	RowValues *values;
	RowBytes source;
	CopyFromState copy;
	CopyFromRoutine routine;
} input;

/* Bytes for the reader, counted for pg_stat_progress_copy. */
static size_t
read_bytes(void *buf, size_t len)
{
	size_t got = input.source(buf, len);

	input.copy->bytes_processed += got;
	pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, input.copy->bytes_processed);
	return got;
}

/*
 * Keep the line's begin, of which COPY's context shows 100 bytes. The length is
 * the whole line's, by which COPY bounds how many rows it holds in memory; it
 * reads no bytes by it.
 */
static void
keep_line(CopyFromState copy)
{
	size_t len;
	const char *line = row_fields_line(input.rows, &len);

	resetStringInfo(&copy->line_buf);
	appendBinaryStringInfo(&copy->line_buf, line, Min(len, LINE_BYTES));
	copy->line_buf.len = (int) len;
	copy->line_buf_valid = true;
}

static const char *
column_name(CopyFromState copy, int column)
{
	int number = list_nth_int(copy->attnumlist, column);

	return NameStr(TupleDescAttr(RelationGetDescr(copy->rel), number - 1)->attname);
}

pg_noreturn static void
refuse_columns(CopyFromState copy, int n_fields)
{
	int n_columns = list_length(copy->attnumlist);

	if (n_fields > n_columns)
		ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
						errmsg("extra data after last expected column")));
	ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
					errmsg("missing data for column \"%s\"", column_name(copy, n_fields))));
}

/* A row of a table without columns is an empty line. */
static bool
is_empty(const RowField *fields, int n_fields)
{
	return n_fields == 1 && fields[0].len == 0;
}

static bool
read_row(CopyFromState copy, ExprContext *econtext, Datum *values, bool *nulls)
{
	int n_columns = list_length(copy->attnumlist);
	RowRead result = row_fields_next(input.rows);
	RowField *fields;
	int n_fields;

	if (result == ROW_END)
		return false;
	copy->cur_lineno++;
	copy->line_buf_valid = false;
	if (result == ROW_INVALID)
		row_fields_report_invalid(input.rows);
	if (result == ROW_CARRIAGE_RETURN)
		ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
						errmsg("literal carriage return found in data")));
	if (result == ROW_CUT_OFF)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT), errmsg("the data ends within a row")));
	keep_line(copy);
	fields = row_fields_get(input.rows, &n_fields);
	if (n_fields != n_columns && !(n_columns == 0 && is_empty(fields, n_fields)))
		refuse_columns(copy, n_fields);
	row_values_parse(input.values, fields, values, nulls);
	return true;
}

/*
 * Have a COPY that has begun read its rows with our reader, from the source,
 * which has about so many bytes.  Where it has to convert their encoding it
 * keeps its own.
 */
void
copy_rows_begin(CopyFromState copy, RowBytes source, uint64 expected)
{
	MemoryContext previous;

	if (copy->need_transcoding)
		return;
	previous = MemoryContextSwitchTo(copy->copycontext);
	input.copy = copy;
	input.source = source;
	input.rows =
		row_fields_create(list_length(copy->attnumlist), copy->file_encoding, read_bytes, expected);
	input.values = row_values_create(copy);
	input.routine = *copy->routine;
	input.routine.CopyFromOneRow = read_row;
	copy->routine = &input.routine;
	MemoryContextSwitchTo(previous);
}
