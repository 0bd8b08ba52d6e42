/*
 * ascii_json.c
 *	  JSON on its way to JavaScript and back, in ASCII.
 *
 * PL/JS takes the bytes of any database for UTF-8 and PL/V8 converts them, so
 * that only ASCII arrives as it was sent. Other characters travel as \u
 * escapes. The bytes of a SQL_ASCII database have no meaning that could be
 * converted; they travel as the code points U+0080 to U+00FF.
 */
#include "postgres.h"

#include "common/string.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_json_to_js);
PG_FUNCTION_INFO_V1(steep_repl_json_from_js);

#define ESCAPE_LEN 6 /* \u00e9 */

static void
append_escape(StringInfo out, pg_wchar c)
{
	if (c > 0xffff)
	{
		c -= 0x10000;
		appendStringInfo(out, "\\u%04x\\u%04x", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
	}
	else
		appendStringInfo(out, "\\u%04x", c);
}

/* Outside of strings JSON is ASCII, and within them an escape says the same. */
Datum
steep_repl_json_to_js(PG_FUNCTION_ARGS)
{
	bool is_bytes = GetDatabaseEncoding() == PG_SQL_ASCII;
	char *json = text_to_cstring(PG_GETARG_TEXT_PP(0));
	StringInfoData out;
	const unsigned char *p;

	if (pg_is_ascii(json))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	if (!is_bytes)
		json = pg_server_to_any(json, strlen(json), PG_UTF8);
	initStringInfo(&out);
	p = (const unsigned char *) json;
	while (*p != '\0')
	{
		if (!IS_HIGHBIT_SET(*p))
			appendStringInfoChar(&out, *p);
		else
			append_escape(&out, is_bytes ? *p : utf8_to_unicode(p));
		p += is_bytes ? 1 : pg_utf_mblen(p);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* The byte that an escape stands for, or 0 if it stands for something else. */
static char
escaped_byte(const char *escape)
{
	char digits[5];
	char *end;
	unsigned long c;

	if (escape[1] != 'u')
		return 0;
	strlcpy(digits, escape + 2, sizeof(digits));
	c = strtoul(digits, &end, 16);
	return end == digits + 4 && c >= 0x80 && c <= 0xff ? (char) c : 0;
}

/* jsonb's input knows the escapes, save for bytes of a SQL_ASCII database. */
Datum
steep_repl_json_from_js(PG_FUNCTION_ARGS)
{
	char *json;
	StringInfoData out;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	json = text_to_cstring(PG_GETARG_TEXT_PP(0));
	initStringInfo(&out);
	for (const char *p = json; *p != '\0';)
	{
		char byte = *p == '\\' ? escaped_byte(p) : 0;
		int len = byte != 0 ? ESCAPE_LEN : *p == '\\' && p[1] != '\0' ? 2 : 1;

		if (byte != 0)
			appendStringInfoChar(&out, byte);
		else
			appendBinaryStringInfo(&out, p, len);
		p += len;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
