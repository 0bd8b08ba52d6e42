/*
 * value_parse.c
 *	  Values from their types' text output.
 *
 * The types' input functions read all that a user may write, and take most of
 * the time of COPY ... FROM.  Here common types are read as their output
 * functions write them; what looks different, and every other type, is left to
 * the input function, which knows the words for what is wrong, too.
 */
#include "text/value_parse.h"

#include "text/byte_mask.h"
#include "catalog/pg_type.h"
#include "text/jsonb_parse.h"
#include "mb/pg_wchar.h"
#include "text/number_parse.h"
#include "text/time_parse.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

static bool
parse_by_input(int32 typmod, char *text, size_t len, Datum *value)
{
	return false;
}

static bool
parse_boolean(int32 typmod, char *text, size_t len, Datum *value)
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
parse_int2(int32 typmod, char *text, size_t len, Datum *value)
{
	int64 number = 0;
	bool ok = parse_integer(text, len, PG_INT16_MIN, PG_INT16_MAX, &number);

	*value = Int16GetDatum((int16) number);
	return ok;
}

static bool
parse_int4(int32 typmod, char *text, size_t len, Datum *value)
{
	int64 number = 0;
	bool ok = parse_integer(text, len, PG_INT32_MIN, PG_INT32_MAX, &number);

	*value = Int32GetDatum((int32) number);
	return ok;
}

static bool
parse_int8(int32 typmod, char *text, size_t len, Datum *value)
{
	int64 number = 0;
	bool ok = parse_integer(text, len, PG_INT64_MIN, PG_INT64_MAX, &number);

	*value = Int64GetDatum(number);
	return ok;
}

/* As many digits behind the point as the column has, so that nothing is to be rounded. */
static bool
parse_numeric(int32 typmod, char *text, size_t len, Datum *value)
{
	Decimal decimal;

	if (decimal_scan(text, &decimal) != text + len)
		return false;
	if (typmod >= (int32) VARHDRSZ)
	{
		int precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
		int scale = (typmod - VARHDRSZ) & 0x7ff;

		if (decimal.scale != scale || decimal.whole > precision - scale)
			return false;
	}
	*value = NumericGetDatum(decimal_to_numeric(&decimal));
	return true;
}

static bool
parse_text(int32 typmod, char *text, size_t len, Datum *value)
{
	*value = PointerGetDatum(cstring_to_text_with_len(text, len));
	return true;
}

/* No text has more characters than bytes. */
static bool
parse_varchar(int32 typmod, char *text, size_t len, Datum *value)
{
	if (typmod >= (int32) VARHDRSZ && (int64) len > typmod - VARHDRSZ)
		return false;
	return parse_text(typmod, text, len, value);
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
parse_bpchar(int32 typmod, char *text, size_t len, Datum *value)
{
	if (typmod >= (int32) VARHDRSZ && ((int64) len != typmod - VARHDRSZ || !is_ascii(text, len)))
		return false;
	return parse_text(typmod, text, len, value);
}

static bool
parse_date(int32 typmod, char *text, size_t len, Datum *value)
{
	int32 days;
	bool ok = len == 10 && date_scan(text, '\0', &days);

	*value = DateADTGetDatum(ok ? days : 0);
	return ok;
}

static bool
parse_timestamp(int32 typmod, char *text, size_t len, Datum *value)
{
	Timestamp timestamp = 0;
	bool ok = typmod < 0 && len >= 19 && timestamp_scan(text, &timestamp) == text + len;

	*value = TimestampGetDatum(timestamp);
	return ok;
}

/* In UTC, as snapshots have them. */
static bool
parse_timestamptz(int32 typmod, char *text, size_t len, Datum *value)
{
	TimestampTz timestamp = 0;
	const char *zone;

	if (typmod >= 0 || len < 22)
		return false;
	zone = timestamp_scan(text, &timestamp);
	*value = TimestampTzGetDatum(timestamp);
	return zone != NULL && zone == text + len - 3 && strcmp(zone, "+00") == 0;
}

static bool
parse_jsonb(int32 typmod, char *text, size_t len, Datum *value)
{
	Jsonb *jsonb = jsonb_parse(text, len);

	*value = PointerGetDatum(jsonb);
	return jsonb != NULL;
}

/* How values of a type are parsed. */
ValueParse
value_parse_of(Oid type)
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
