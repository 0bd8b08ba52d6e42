/*
 * row_values.c
 *	  The values of a table's columns, from the text that COPY ... TO writes.
 *
 * The types' input functions read all that a user may write, and take most of
 * the time of COPY ... FROM.  Here common types are read as their output
 * functions write them; what looks different, and every other type, is given
 * to the input function, which knows the words for what is wrong, too.
 */
#include "row_values.h"

#include "byte_mask.h"
#include "catalog/pg_type.h"
#include "jsonb_parse.h"
#include "mb/pg_wchar.h"
#include "number_parse.h"
#include "time_parse.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

typedef struct Column Column;

/* Reads a field, which ends with a zero; false where the input function has to. */
typedef bool (*ColumnParse)(const Column *column, char *text, size_t len, Datum *value);

struct Column
{
	ColumnParse parse;
	int index; /* in the table */
	int32 typmod;
	const char *name;
};

struct RowValues
{
	CopyFromState copy; /* whose errors name the column; NULL: there is none */
	const FmgrInfo *inputs;
	const Oid *io_params;
	int n_columns;
	Column columns[FLEXIBLE_ARRAY_MEMBER];
};

static bool
parse_by_input(const Column *column, char *text, size_t len, Datum *value)
{
	return false;
}

static bool
parse_boolean(const Column *column, char *text, size_t len, Datum *value)
{
	*value = BoolGetDatum(text[0] == 't');
	return len == 1 && (text[0] == 't' || text[0] == 'f');
}

/* A whole field that is an integer in these bounds. */
static bool
parse_integer(const char *text, size_t len, int64 min, int64 max, int64 *value)
{
	return integer_scan(text, value) == text + len && *value >= min && *value <= max;
}

static bool
parse_int2(const Column *column, char *text, size_t len, Datum *value)
{
	int64 number = 0;
	bool ok = parse_integer(text, len, PG_INT16_MIN, PG_INT16_MAX, &number);

	*value = Int16GetDatum((int16) number);
	return ok;
}

static bool
parse_int4(const Column *column, char *text, size_t len, Datum *value)
{
	int64 number = 0;
	bool ok = parse_integer(text, len, PG_INT32_MIN, PG_INT32_MAX, &number);

	*value = Int32GetDatum((int32) number);
	return ok;
}

static bool
parse_int8(const Column *column, char *text, size_t len, Datum *value)
{
	int64 number = 0;
	bool ok = parse_integer(text, len, PG_INT64_MIN, PG_INT64_MAX, &number);

	*value = Int64GetDatum(number);
	return ok;
}

/* As many digits behind the point as the column has, so that nothing is to be rounded. */
static bool
parse_numeric(const Column *column, char *text, size_t len, Datum *value)
{
	Decimal decimal;

	if (decimal_scan(text, &decimal) != text + len)
		return false;
	if (column->typmod >= (int32) VARHDRSZ)
	{
		int precision = ((column->typmod - VARHDRSZ) >> 16) & 0xffff;
		int scale = (column->typmod - VARHDRSZ) & 0x7ff;

		if (decimal.scale != scale || decimal.whole > precision - scale)
			return false;
	}
	*value = NumericGetDatum(decimal_to_numeric(&decimal));
	return true;
}

static bool
parse_text(const Column *column, char *text, size_t len, Datum *value)
{
	*value = PointerGetDatum(cstring_to_text_with_len(text, len));
	return true;
}

/* No text has more characters than bytes. */
static bool
parse_varchar(const Column *column, char *text, size_t len, Datum *value)
{
	if (column->typmod >= (int32) VARHDRSZ && (int64) len > column->typmod - VARHDRSZ)
		return false;
	return parse_text(column, text, len, value);
}

static bool
is_ascii(const char *text, size_t len)
{
	uint8 bits = 0;

	for (size_t i = 0; i < len; i++)
		bits |= (uint8) text[i];
	return !IS_HIGHBIT_SET(bits);
}

/* With its blanks, as it is stored. */
static bool
parse_bpchar(const Column *column, char *text, size_t len, Datum *value)
{
	if (column->typmod >= (int32) VARHDRSZ &&
		((int64) len != column->typmod - VARHDRSZ || !is_ascii(text, len)))
		return false;
	return parse_text(column, text, len, value);
}

static bool
parse_date(const Column *column, char *text, size_t len, Datum *value)
{
	int32 days;
	bool ok = len == 10 && date_scan(text, '\0', &days);

	*value = DateADTGetDatum(ok ? days : 0);
	return ok;
}

static bool
parse_timestamp(const Column *column, char *text, size_t len, Datum *value)
{
	Timestamp timestamp = 0;
	bool ok = column->typmod < 0 && len >= 19 && timestamp_scan(text, &timestamp) == text + len;

	*value = TimestampGetDatum(timestamp);
	return ok;
}

/* In UTC, as snapshots have them. */
static bool
parse_timestamptz(const Column *column, char *text, size_t len, Datum *value)
{
	TimestampTz timestamp = 0;
	const char *zone;

	if (column->typmod >= 0 || len < 22)
		return false;
	zone = timestamp_scan(text, &timestamp);
	*value = TimestampTzGetDatum(timestamp);
	return zone != NULL && zone == text + len - 3 && strcmp(zone, "+00") == 0;
}

static bool
parse_jsonb(const Column *column, char *text, size_t len, Datum *value)
{
	Jsonb *jsonb = jsonb_parse(text, len);

	*value = PointerGetDatum(jsonb);
	return jsonb != NULL;
}

static ColumnParse
parse_of(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return parse_boolean;
		case INT2OID:
			return parse_int2;
		case INT4OID:
			return parse_int4;
		case INT8OID:
			return parse_int8;
		case NUMERICOID:
			return parse_numeric;
		case TEXTOID:
			return parse_text;
		case VARCHAROID:
			return parse_varchar;
		case BPCHAROID:
			return parse_bpchar;
		case DATEOID:
			return parse_date;
		case TIMESTAMPOID:
			return parse_timestamp;
		case TIMESTAMPTZOID:
			return parse_timestamptz;
		case JSONBOID:
			return parse_jsonb;
		default:
			return parse_by_input;
	}
}

static RowValues *
create(int n_columns)
{
	RowValues *row = palloc0(offsetof(RowValues, columns) + n_columns * sizeof(row->columns[0]));

	row->n_columns = n_columns;
	return row;
}

static void
set_column(Column *column, TupleDesc description, int index)
{
	Form_pg_attribute attribute = TupleDescAttr(description, index);

	column->index = index;
	column->parse = parse_of(attribute->atttypid);
	column->typmod = attribute->atttypmod;
	column->name = NameStr(attribute->attname);
}

/* For the columns of a COPY that has begun; in CurrentMemoryContext. */
RowValues *
row_values_create(CopyFromState copy)
{
	RowValues *row = create(list_length(copy->attnumlist));

	row->copy = copy;
	row->inputs = copy->in_functions;
	row->io_params = copy->typioparams;
	for (int i = 0; i < row->n_columns; i++)
		set_column(&row->columns[i], RelationGetDescr(copy->rel),
				   list_nth_int(copy->attnumlist, i) - 1);
	return row;
}

/* For all columns of such rows; likewise. */
RowValues *
row_values_create_for(TupleDesc description)
{
	RowValues *row = create(description->natts);
	FmgrInfo *inputs = palloc(description->natts * sizeof(FmgrInfo));
	Oid *io_params = palloc(description->natts * sizeof(Oid));

	for (int i = 0; i < row->n_columns; i++)
	{
		Oid function;

		getTypeInputInfo(TupleDescAttr(description, i)->atttypid, &function, &io_params[i]);
		fmgr_info(function, &inputs[i]);
		set_column(&row->columns[i], description, i);
	}
	row->inputs = inputs;
	row->io_params = io_params;
	return row;
}

/* As COPY does it: an input function that is not strict sees NULL, too. */
static void
call_input(RowValues *row, const Column *column, char *text, Datum *value)
{
	CopyFromState copy = row->copy;

	if (copy != NULL)
	{
		copy->cur_attname = column->name;
		copy->cur_attval = text;
	}
	*value = InputFunctionCall(unconstify(FmgrInfo *, &row->inputs[column->index]), text,
							   row->io_params[column->index], column->typmod);
	if (copy != NULL)
		copy->cur_attname = copy->cur_attval = NULL;
}

/*
 * Parse the value of a column, of those that COPY names, from text that a zero
 * ends; NULL is NULL.
 */
void
row_value_parse(RowValues *row, int number, char *text, size_t len, Datum *values, bool *nulls)
{
	const Column *column = &row->columns[number];

	nulls[column->index] = text == NULL;
	if (text == NULL || !column->parse(column, text, len, &values[column->index]))
		call_input(row, column, text, &values[column->index]);
}

/* Parse a row of as many fields as there are columns. */
void
row_values_parse(RowValues *row, RowField *fields, Datum *values, bool *nulls)
{
	for (int i = 0; i < row->n_columns; i++)
	{
		RowField *field = &fields[i];
		bool is_null = row_field_is_null(field);

		if (!is_null && !row_field_unescape(field))
			ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
							errmsg("column \"%s\" holds a backslash that COPY does not write",
								   row->columns[i].name)));
		row_value_parse(row, i, is_null ? NULL : field->text, field->len, values, nulls);
	}
}
