/*
 * value_text.c
 *	  Values as their types' output functions write them.
 *
 * COPY itself spends most of its time in output functions that allocate a
 * string for each value, and in looking at each of its bytes. Here common types
 * are formatted into the line, and what needs no escape is found a vector at a
 * time. Every other type has its output function called, as COPY does.
 */
#include "text/value_text.h"

#include "catalog/pg_type.h"
#include "text/copy_escape.h"
#include "text/jsonb_format.h"
#include "miscadmin.h"
#include "text/numeric_format.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* The longest of an int8, a date and a time of day. */
#define FIXED_BYTES 64

/* 0001-01-01 and 9999-12-31, as days since 2000-01-01. */
#define FIRST_DAY (-730119)
#define LAST_DAY 2921939

static void
format_by_output(StringInfo line, ValueText *text, Datum value)
{
	const char *written = OutputFunctionCall(&text->output, value);

	text->escape(line, written, strlen(written));
}

static void
format_text(StringInfo line, ValueText *text, Datum value)
{
	const struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

	text->escape(line, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
}

static void
format_numeric(StringInfo line, ValueText *text, Datum value)
{
	if (!numeric_format(line, value))
		format_by_output(line, text, value);
}

static void
format_jsonb_for_copy(StringInfo line, ValueText *text, Datum value)
{
	jsonb_format(line, &DatumGetJsonbP(value)->root, copy_escape);
}

static void
format_jsonb(StringInfo line, ValueText *text, Datum value)
{
	StringInfoData json;

	initStringInfo(&json);
	jsonb_format(&json, &DatumGetJsonbP(value)->root, line_append);
	text->escape(line, json.data, json.len);
	pfree(json.data);
}

static void
format_bool(StringInfo line, ValueText *text, Datum value)
{
	appendStringInfoChar(line, DatumGetBool(value) ? 't' : 'f');
}

static void
format_int2(StringInfo line, ValueText *text, Datum value)
{
	enlargeStringInfo(line, FIXED_BYTES);
	line->len += pg_itoa(DatumGetInt16(value), line->data + line->len);
}

static void
format_int4(StringInfo line, ValueText *text, Datum value)
{
	enlargeStringInfo(line, FIXED_BYTES);
	line->len += pg_ltoa(DatumGetInt32(value), line->data + line->len);
}

static void
format_int8(StringInfo line, ValueText *text, Datum value)
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
format_date(StringInfo line, ValueText *text, Datum value)
{
	DateADT date = DatumGetDateADT(value);
	char *end;

	enlargeStringInfo(line, FIXED_BYTES);
	end = put_date(line->data + line->len, date, '\0');
	if (end == NULL)
		format_by_output(line, text, value);
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
format_timestamp(StringInfo line, ValueText *text, Datum value)
{
	if (!put_timestamp(line, DatumGetTimestamp(value)))
		format_by_output(line, text, value);
}

static void
format_utc(StringInfo line, ValueText *text, Datum value)
{
	if (put_timestamp(line, DatumGetTimestampTz(value)))
		line_append(line, "+00", 3);
	else
		format_by_output(line, text, value);
}

/* Whether the session's time zone is UTC, whatever its name. */
static bool
is_utc(void)
{
	long offset;

	return pg_get_timezone_offset(session_timezone, &offset) && offset == 0;
}

static ValueFormat
format_of(Oid type, TextEscape escape)
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
			return escape == copy_escape ? format_jsonb_for_copy : format_jsonb;
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

/* Prepare for values of a type, of which text is to be escaped in that way. */
void
value_text_init(ValueText *text, Oid type, TextEscape escape)
{
	Oid function;
	bool is_varlena;

	getTypeOutputInfo(type, &function, &is_varlena);
	fmgr_info(function, &text->output);
	text->escape = escape;
	text->format = format_of(type, escape);
}
