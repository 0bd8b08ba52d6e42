/*
 * json_escape.c
 *	  Text as it stands in a JSON string, as PostgreSQL writes it.
 *
 * escape_json_with_len() writes the quotes as well, and always both.
 */
#include "text/json_escape.h"

#include "text/byte_mask.h"
#include "text/copy_escape.h"
#include "port/pg_bitutils.h"

/* How many of the first bytes need no escape. */
size_t
json_plain_bytes(const char *text, size_t len)
{
	size_t at = 0;

	for (; at + MASK_BYTES <= len; at += MASK_BYTES)
	{
		uint32 mask = mask_controls_or(text + at, '"', '\\');

		if (mask != 0)
			return at + pg_rightmost_one_pos32(mask);
	}
	while (at < len && (uint8) text[at] > 0x1f && text[at] != '"' && text[at] != '\\')
		at++;
	return at;
}

/* Append text as it stands in a JSON string. */
void
json_escape(StringInfo line, const char *text, size_t len)
{
	static const char escapes[256] = {
		['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n',  ['\r'] = 'r',
		['\t'] = 't', ['"'] = '"',  ['\\'] = '\\',
	};

	for (;;)
	{
		size_t n = json_plain_bytes(text, len);
		uint8 special;

		line_append(line, text, n);
		if (n == len)
			return;
		special = (uint8) text[n];
		appendStringInfoCharMacro(line, '\\');
		if (escapes[special] != 0)
			appendStringInfoCharMacro(line, escapes[special]);
		else
			appendStringInfo(line, "u%04x", special);
		text += n + 1;
		len -= n + 1;
	}
}
