/*
 * value_text.h
 *	  Values as their types' output functions write them.
 */
#ifndef STEEP_VALUE_TEXT_H
#define STEEP_VALUE_TEXT_H

#include "postgres.h"

#include "text/copy_escape.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

typedef struct ValueText ValueText;
typedef void (*ValueFormat)(StringInfo line, ValueText *text, Datum value);

struct ValueText
{
	ValueFormat format;
	TextEscape escape;
	FmgrInfo output;
};

extern void value_text_init(ValueText *text, Oid type, TextEscape escape);

/* Append a value, which is not NULL; what that needs is left in CurrentMemoryContext. */
static inline void
value_text_append(StringInfo line, ValueText *text, Datum value)
{
	text->format(line, text, value);
}

#endif /* STEEP_VALUE_TEXT_H */
