/*
 * copy_escape.h
 *	  Lines of COPY text, and text as it stands in their fields.
 */
#ifndef STEEP_COPY_ESCAPE_H
#define STEEP_COPY_ESCAPE_H

#include "postgres.h"

#include "lib/stringinfo.h"

/* appendBinaryStringInfo, inline where there is room, and without a zero at the end. */
static inline void
line_append(StringInfo line, const char *text, size_t len)
{
	if (unlikely(line->len + len >= (size_t) line->maxlen))
		enlargeStringInfo(line, len);
	memcpy(line->data + line->len, text, len);
	line->len += len;
}

/* Appends text as it stands in a line of some format. */
typedef void (*TextEscape)(StringInfo line, const char *text, size_t len);

extern void copy_escape(StringInfo line, const char *text, size_t len);

#endif /* STEEP_COPY_ESCAPE_H */
