/*
 * copy_escape.c
 *	  Lines of COPY text, and text as it stands in their fields.
 */
#include "text/copy_escape.h"

#include "port/simd.h"

/* What follows the backslash; 0 where none is needed. */
static const char escapes[256] = {
	['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n',  ['\r'] = 'r',
	['\t'] = 't', ['\v'] = 'v', ['\\'] = '\\',
};

/* How many of the first bytes stand for themselves. */
static size_t
plain_bytes(const char *text, size_t len)
{
	size_t n = 0;

	while (n < len)
	{
		size_t end = Min(n + sizeof(Vector8), len);

		if (end - n == sizeof(Vector8))
		{
			Vector8 chunk;

			vector8_load(&chunk, (const uint8 *) text + n);
			if (!vector8_has_le(chunk, 0x1f) && !vector8_has(chunk, '\\'))
			{
				n = end;
				continue;
			}
		}
		for (; n < end; n++)
			if (escapes[(uint8) text[n]] != 0)
				return n;
	}
	return n;
}

/* Append a field's text. In the server's encodings no byte of a longer character looks like ASCII. */
void
copy_escape(StringInfo line, const char *text, size_t len)
{
	for (;;)
	{
		size_t n = plain_bytes(text, len);

		line_append(line, text, n);
		if (n == len)
			return;
		appendStringInfoCharMacro(line, '\\');
		appendStringInfoCharMacro(line, escapes[(uint8) text[n]]);
		text += n + 1;
		len -= n + 1;
	}
}
