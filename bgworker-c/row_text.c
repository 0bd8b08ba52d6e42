/*
 * row_text.c
 *	  Rows as the lines of text that COPY ... TO would write.
 */
#include "row_text.h"

#include "copy_escape.h"
#include "utils/memutils.h"
#include "value_text.h"

struct RowText
{
	MemoryContext context; /* of one row's values */
	StringInfoData line;
	int n_columns;
	ValueText columns[FLEXIBLE_ARRAY_MEMBER];
};

/* For rows of one kind; in CurrentMemoryContext. */
RowText *
row_text_create(TupleDesc description)
{
	RowText *row =
		palloc0(offsetof(RowText, columns) + description->natts * sizeof(row->columns[0]));

	row->context =
		AllocSetContextCreate(CurrentMemoryContext, "steep_repl row", ALLOCSET_DEFAULT_SIZES);
	row->n_columns = description->natts;
	initStringInfo(&row->line);
	for (int i = 0; i < row->n_columns; i++)
		value_text_init(&row->columns[i], TupleDescAttr(description, i)->atttypid, copy_escape);
	return row;
}

/* A row's line, with the newline at its end; valid until the next one. */
const StringInfoData *
row_text_format(RowText *row, TupleTableSlot *slot)
{
	MemoryContext previous = MemoryContextSwitchTo(row->context);
	StringInfo line = &row->line;

	slot_getallattrs(slot);
	resetStringInfo(line);
	for (int i = 0; i < row->n_columns; i++)
	{
		if (i > 0)
			appendStringInfoCharMacro(line, '\t');
		if (slot->tts_isnull[i])
			line_append(line, "\\N", 2);
		else
			value_text_append(line, &row->columns[i], slot->tts_values[i]);
	}
	appendStringInfoCharMacro(line, '\n');
	MemoryContextSwitchTo(previous);
	MemoryContextReset(row->context);
	return line;
}
