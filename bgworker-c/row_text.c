/*
 * row_text.c
 *	  Rows as the lines of text that COPY ... TO would write.
 *
 * COPY itself spends most of its time in output functions that allocate a
 * string for each value, and in looking at each of its bytes. Here common types
 * are formatted into the line, and what needs no backslash is found a vector
 * at a time. Every other type has its output function called, as COPY does.
 */
#include "row_text.h"

#include "catalog/pg_type.h"
#include "copy_escape.h"
#include "fmgr.h"
#include "jsonb_format.h"
#include "miscadmin.h"
#include "numeric_format.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The longest of an int8, a date and a time of day. */
#define FIXED_BYTES 64

/* 0001-01-01 and 9999-12-31, as days since 2000-01-01. */
#define FIRST_DAY (-730119)
#define LAST_DAY 2921939

typedef struct Column Column;
typedef void (*ColumnFormat)(StringInfo line, Column *column, Datum value);

struct Column
{
	ColumnFormat format;
	FmgrInfo output;
};

struct RowText
{
	MemoryContext context; /* of one row's values */
	StringInfoData line;
	int n_columns;
	Column columns[FLEXIBLE_ARRAY_MEMBER];
};

static void
format_by_output(StringInfo line, Column *column, Datum value)
{
	const char *text = OutputFunctionCall(&column->output, value);

	copy_escape(line, text, strlen(text));
}

static void
format_text(StringInfo line, Column *column, Datum value)
{
	const text *packed = DatumGetTextPP(value);

	copy_escape(line, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
}

static void
format_numeric(StringInfo line, Column *column, Datum value)
{
	if (!numeric_format(line, value))
		format_by_output(line, column, value);
}

static void
format_jsonb(StringInfo line, Column *column, Datum value)
{
	jsonb_format(line, &DatumGetJsonbP(value)->root);
}

static void
format_bool(StringInfo line, Column *column, Datum value)
{
	appendStringInfoChar(line, DatumGetBool(value) ? 't' : 'f');
}

static void
format_int2(StringInfo line, Column *column, Datum value)
{
	enlargeStringInfo(line, FIXED_BYTES);
	line->len += pg_itoa(DatumGetInt16(value), line->data + line->len);
}

static void
format_int4(StringInfo line, Column *column, Datum value)
{
	enlargeStringInfo(line, FIXED_BYTES);
	line->len += pg_ltoa(DatumGetInt32(value), line->data + line->len);
}

static void
format_int8(StringInfo line, Column *column, Datum value)
{
	enlargeStringInfo(line, FIXED_BYTES);
	line->len += pg_lltoa(DatumGetInt64(value), line->data + line->len);
}

/* Append a number of a fixed width, and what follows it. */
static char *
put_digits(char *at, uint32 value, int width, char end)
{
	at = pg_ultostr_zeropad(at, value, width);
	*at = end;
	return at + 1;
}

/* Write YYYY-MM-DD and an end; NULL for years that are written in another way. */
static char *
put_date(char *at, int64 days, char end)
{
	int year;
	int month;
	int day;

	if (days < FIRST_DAY || days > LAST_DAY)
		return NULL;
	j2date((int) days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	at = put_digits(at, year, 4, '-');
	at = put_digits(at, month, 2, '-');
	return put_digits(at, day, 2, end);
}

/* Write HH:MM:SS, and the part of a second without the zeros at its end. */
static char *
put_time(char *at, int64 microseconds)
{
	int seconds = (int) (microseconds / USECS_PER_SEC);
	int fraction = (int) (microseconds % USECS_PER_SEC);

	at = put_digits(at, seconds / SECS_PER_HOUR, 2, ':');
	at = put_digits(at, seconds / SECS_PER_MINUTE % MINS_PER_HOUR, 2, ':');
	at = put_digits(at, seconds % SECS_PER_MINUTE, 2, '.');
	if (fraction == 0)
		return at - 1;
	at = pg_ultostr_zeropad(at, fraction, 6);
	while (at[-1] == '0')
		at--;
	return at;
}

static void
format_date(StringInfo line, Column *column, Datum value)
{
	DateADT date = DatumGetDateADT(value);
	char *end;

	enlargeStringInfo(line, FIXED_BYTES);
	end = put_date(line->data + line->len, date, '\0');
	if (end == NULL)
		format_by_output(line, column, value);
	else
		line->len = end - 1 - line->data;
}

/* Without a time zone, or in UTC; false for what is written in another way. */
static bool
put_timestamp(StringInfo line, Timestamp timestamp)
{
	int64 days = timestamp / USECS_PER_DAY;
	int64 time = timestamp % USECS_PER_DAY;
	char *at;

	if (time < 0)
	{
		time += USECS_PER_DAY;
		days--;
	}
	enlargeStringInfo(line, FIXED_BYTES);
	at = put_date(line->data + line->len, days, ' ');
	if (at == NULL)
		return false;
	line->len = put_time(at, time) - line->data;
	return true;
}

static void
format_timestamp(StringInfo line, Column *column, Datum value)
{
	if (!put_timestamp(line, DatumGetTimestamp(value)))
		format_by_output(line, column, value);
}

static void
format_utc(StringInfo line, Column *column, Datum value)
{
	if (put_timestamp(line, DatumGetTimestampTz(value)))
		line_append(line, "+00", 3);
	else
		format_by_output(line, column, value);
}

/* Whether the session's time zone is UTC, whatever its name. */
static bool
is_utc(void)
{
	long offset;

	return pg_get_timezone_offset(session_timezone, &offset) && offset == 0;
}

static ColumnFormat
format_of(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
			return format_bool;
		case INT2OID:
			return format_int2;
		case INT4OID:
			return format_int4;
		case INT8OID:
			return format_int8;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			return format_text;
		case NUMERICOID:
			return format_numeric;
		case JSONBOID:
			return format_jsonb;
		case DATEOID:
			return DateStyle == USE_ISO_DATES ? format_date : format_by_output;
		case TIMESTAMPOID:
			return DateStyle == USE_ISO_DATES ? format_timestamp : format_by_output;
		case TIMESTAMPTZOID:
			return DateStyle == USE_ISO_DATES && is_utc() ? format_utc : format_by_output;
		default:
			return format_by_output;
	}
}

/* For rows of one kind; in CurrentMemoryContext. */
RowText *
row_text_create(TupleDesc description)
{
	RowText *row =
		palloc0(offsetof(RowText, columns) + description->natts * sizeof(row->columns[0]));

	row->context =
		AllocSetContextCreate(CurrentMemoryContext, "steep_repl row", ALLOCSET_DEFAULT_SIZES);
	row->n_columns = description->natts;
	initStringInfo(&row->line);
	for (int i = 0; i < row->n_columns; i++)
	{
		Oid type = TupleDescAttr(description, i)->atttypid;
		Oid function;
		bool is_varlena;

		getTypeOutputInfo(type, &function, &is_varlena);
		fmgr_info(function, &row->columns[i].output);
		row->columns[i].format = format_of(type);
	}
	return row;
}

/* A row's line, with the newline at its end; valid until the next one. */
const StringInfoData *
row_text_format(RowText *row, TupleTableSlot *slot)
{
	MemoryContext previous = MemoryContextSwitchTo(row->context);
	StringInfo line = &row->line;

	slot_getallattrs(slot);
	resetStringInfo(line);
	for (int i = 0; i < row->n_columns; i++)
	{
		if (i > 0)
			appendStringInfoCharMacro(line, '\t');
		if (slot->tts_isnull[i])
			line_append(line, "\\N", 2);
		else
			row->columns[i].format(line, &row->columns[i], slot->tts_values[i]);
	}
	appendStringInfoCharMacro(line, '\n');
	MemoryContextSwitchTo(previous);
	MemoryContextReset(row->context);
	return line;
}
