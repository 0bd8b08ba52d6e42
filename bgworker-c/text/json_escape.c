/*
 * json_escape.c
 *	  Text as it stands in a JSON string, as PostgreSQL writes it.
 */
#include "text/json_escape.h"

#include "text/byte_mask.h"
#include "port/pg_bitutils.h"
#include "utils/json.h"

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

/* Append text as it stands in a JSON string, to what has a beginning: at least the quote. */
void
json_escape(StringInfo line, const char *text, size_t len)
{
	int at = line->len - 1;
	char last = line->data[at];

	/* the server's own writes both quotes: one where our last byte stood, one behind */
	line->len = at;
	escape_json_with_len(line, text, (int) len);
	line->data[at] = last;
	line->data[--line->len] = '\0';
}
