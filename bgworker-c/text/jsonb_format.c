/*
 * jsonb_format.c
 *	  Jsonb as its output function writes it.
 *
 * jsonb_out walks through a document by an iterator that copies each value, and
 * looks at each byte of a string; COPY looks at each once more.  Here values
 * are written from where they are stored.
 */
#include "text/jsonb_format.h"

#include "text/copy_escape.h"
#include "text/json_escape.h"
#include "text/jsonb_children.h"
#include "miscadmin.h"
#include "text/numeric_format.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

static void
format_string(StringInfo line, const char *text, size_t len, TextEscape escape)
{
	/* what JSON need not escape, no format of lines has to either */
	if (json_plain_bytes(text, len) == len)
	{
		appendStringInfoCharMacro(line, '"');
		line_append(line, text, len);
		appendStringInfoCharMacro(line, '"');
	}
	else
	{
		StringInfoData json;

		initStringInfo(&json);
		escape_json_with_len(&json, text, len);
		escape(line, json.data, json.len);
		pfree(json.data);
	}
}

static void
format_numeric(StringInfo line, Numeric number)
{
	char *text;

	if (numeric_format(line, NumericGetDatum(number)))
		return;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	line_append(line, text, strlen(text));
	pfree(text);
}

/* Write the next child. */
static void
format_next(StringInfo line, JsonbChildren *children, TextEscape escape)
{
	JsonbChild child = jsonb_next_child(children);
	JEntry entry = child.entry;

	if (JBE_ISSTRING(entry))
		format_string(line, child.data, child.len, escape);
	else if (JBE_ISNUMERIC(entry))
		format_numeric(line, (Numeric) child.aligned);
	else if (JBE_ISCONTAINER(entry))
		jsonb_format(line, (JsonbContainer *) child.aligned, escape);
	else if (JBE_ISNULL(entry))
		line_append(line, "null", 4);
	else if (JBE_ISBOOL_TRUE(entry))
		line_append(line, "true", 4);
	else if (JBE_ISBOOL_FALSE(entry))
		line_append(line, "false", 5);
	else
		elog(ERROR, "unknown type of a jsonb value: %x", entry & JENTRY_TYPEMASK);
}

static void
format_array(StringInfo line, JsonbContainer *array, TextEscape escape)
{
	uint32 n = JsonContainerSize(array);
	JsonbChildren elements = jsonb_children(array, 0, n);
	bool is_scalar = JsonContainerIsScalar(array);

	if (!is_scalar)
		appendStringInfoCharMacro(line, '[');
	for (uint32 i = 0; i < n; i++)
	{
		if (i > 0)
			line_append(line, ", ", 2);
		format_next(line, &elements, escape);
	}
	if (!is_scalar)
		appendStringInfoCharMacro(line, ']');
}

static void
format_object(StringInfo line, JsonbContainer *object, TextEscape escape)
{
	uint32 n = JsonContainerSize(object);
	JsonbChildren keys = jsonb_children(object, 0, 2 * n);
	JsonbChildren values = jsonb_children(object, n, 2 * n);

	appendStringInfoCharMacro(line, '{');
	for (uint32 i = 0; i < n; i++)
	{
		if (i > 0)
			line_append(line, ", ", 2);
		format_next(line, &keys, escape);
		line_append(line, ": ", 2);
		format_next(line, &values, escape);
	}
	appendStringInfoCharMacro(line, '}');
}

/* Append a document, as jsonb_out writes it, with what is not plain escaped for the line. */
void
jsonb_format(StringInfo line, JsonbContainer *container, TextEscape escape)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		format_object(line, container, escape);
	else
		format_array(line, container, escape);
}
