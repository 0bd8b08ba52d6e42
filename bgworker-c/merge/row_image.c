/*
 * row_image.c
 *	  The image of a row, as json_object would make it of the types' output.
 *
 * json_object takes an array of texts, so that each value is made three times:
 * as its output, as an element, and as JSON.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "text/copy_escape.h"
#include "fmgr.h"
#include "text/json_escape.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "text/value_text.h"

PG_FUNCTION_INFO_V1(steep_repl_row_image);

typedef struct Field
{
	char *name; /* with the colon behind it, and what stands before it */
	int name_len;
	ValueText text;
} Field;

typedef struct Layout
{
	int n_fields;
	StringInfoData image;
	MemoryContext values;
	Field fields[FLEXIBLE_ARRAY_MEMBER];
} Layout;

static Layout *
make_layout(FunctionCallInfo fcinfo)
{
	MemoryContext context = fcinfo->flinfo->fn_mcxt;
	MemoryContext previous = MemoryContextSwitchTo(context);
	int n = PG_NARGS() - 1;
	Layout *layout = palloc0(offsetof(Layout, fields) + n * sizeof(Field));
	Datum *names;
	int n_names;

	if (PG_ARGISNULL(0) || !get_fn_expr_arg_stable(fcinfo->flinfo, 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the names of an image must be the same for all rows")));
	deconstruct_array_builtin(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, &names, NULL, &n_names);
	if (n_names != n)
		elog(ERROR, "%d names for %d values", n_names, n);
	layout->n_fields = n;
	layout->values = AllocSetContextCreate(context, "steep_repl image", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&layout->image);
	for (int i = 0; i < n; i++)
	{
		StringInfoData name;

		initStringInfo(&name);
		appendStringInfoString(&name, i == 0 ? "{" : ", ");
		escape_json(&name, TextDatumGetCString(names[i]));
		appendStringInfoString(&name, " : ");
		layout->fields[i].name = name.data;
		layout->fields[i].name_len = name.len;
		value_text_init(&layout->fields[i].text, get_fn_expr_argtype(fcinfo->flinfo, i + 1),
						json_escape);
	}
	MemoryContextSwitchTo(previous);
	return layout;
}

/* steep_repl._row_image(names, values...) */
Datum
steep_repl_row_image(PG_FUNCTION_ARGS)
{
	Layout *layout = fcinfo->flinfo->fn_extra;
	StringInfo image;
	MemoryContext previous;

	if (layout == NULL)
		layout = fcinfo->flinfo->fn_extra = make_layout(fcinfo);
	image = &layout->image;
	resetStringInfo(image);
	previous = MemoryContextSwitchTo(layout->values);
	for (int i = 0; i < layout->n_fields; i++)
	{
		Field *field = &layout->fields[i];

		line_append(image, field->name, field->name_len);
		if (PG_ARGISNULL(i + 1))
		{
			line_append(image, "null", 4);
			continue;
		}
		appendStringInfoCharMacro(image, '"');
		value_text_append(image, &field->text, PG_GETARG_DATUM(i + 1));
		appendStringInfoCharMacro(image, '"');
	}
	appendStringInfoCharMacro(image, '}');
	MemoryContextSwitchTo(previous);
	MemoryContextReset(layout->values);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(image->data, image->len));
}
