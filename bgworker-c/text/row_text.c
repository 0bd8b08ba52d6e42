/*
 * row_text.c
 *	  Rows as the lines of text that COPY ... TO would write.
 */
#include "text/row_text.h"

#include "text/copy_escape.h"
#include "utils/memutils.h"
#include "text/value_text.h"

typedef struct RowColumn
{
	int index; /* in the slot */
	ValueText text;
} RowColumn;

struct RowText
{
	MemoryContext context; /* of one row's values */
	StringInfoData line;
	AttrNumber last; /* of the columns, as the slot has them */
	int n_columns;
	RowColumn columns[FLEXIBLE_ARRAY_MEMBER];
};

/* For these columns of rows of one kind; in CurrentMemoryContext. */
RowText *
row_text_create(TupleDesc description, const AttrNumber *columns, int n_columns)
{
	RowText *row = palloc0(offsetof(RowText, columns) + n_columns * sizeof(row->columns[0]));

	row->context =
		AllocSetContextCreate(CurrentMemoryContext, "steep_repl row", ALLOCSET_DEFAULT_SIZES);
	row->n_columns = n_columns;
	initStringInfo(&row->line);
	for (int i = 0; i < n_columns; i++)
	{
		row->columns[i].index = AttrNumberGetAttrOffset(columns[i]);
		row->last = Max(row->last, columns[i]);
		value_text_init(&row->columns[i].text,
						TupleDescAttr(description, row->columns[i].index)->atttypid, copy_escape);
	}
	return row;
}

/* A row's line, with the newline at its end; valid until the next one. */
const StringInfoData *
row_text_format(RowText *row, TupleTableSlot *slot)
{
	MemoryContext previous = MemoryContextSwitchTo(row->context);
	StringInfo line = &row->line;

	slot_getsomeattrs(slot, row->last);
	resetStringInfo(line);
	for (int i = 0; i < row->n_columns; i++)
	{
		RowColumn *column = &row->columns[i];

		if (i > 0)
			appendStringInfoCharMacro(line, '\t');
		if (slot->tts_isnull[column->index])
			line_append(line, "\\N", 2);
		else
			value_text_append(line, &column->text, slot->tts_values[column->index]);
	}
	appendStringInfoCharMacro(line, '\n');
	MemoryContextSwitchTo(previous);
	MemoryContextReset(row->context);
	return line;
}
