/*
 * row_values.c
 *	  The values of a table's columns, from their types' text output.
 */
#include "text/row_values.h"

#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "text/value_parse.h"

typedef struct Column
{
	ValueParse parse;
	int index; /* in the table */
	int32 typmod;
	const char *name;
} Column;

struct RowValues
{
	CopyFromState copy; /* whose errors name the column; NULL: there is none */
	const FmgrInfo *inputs;
	const Oid *io_params;
	int n_columns;
	Column columns[FLEXIBLE_ARRAY_MEMBER];
};

static RowValues *
create(int n_columns)
{
	RowValues *row = palloc0(offsetof(RowValues, columns) + n_columns * sizeof(row->columns[0]));

	row->n_columns = n_columns;
	return row;
}

static void
set_column(Column *column, TupleDesc description, int index)
{
	Form_pg_attribute attribute = TupleDescAttr(description, index);

	column->index = index;
	column->parse = value_parse_of(attribute->atttypid);
	column->typmod = attribute->atttypmod;
	column->name = NameStr(attribute->attname);
}

/* For the columns of a COPY that has begun; in CurrentMemoryContext. */
RowValues *
row_values_create(CopyFromState copy)
{
	RowValues *row = create(list_length(copy->attnumlist));

	row->copy = copy;
	row->inputs = copy->in_functions;
	row->io_params = copy->typioparams;
	for (int i = 0; i < row->n_columns; i++)
		set_column(&row->columns[i], RelationGetDescr(copy->rel),
				   list_nth_int(copy->attnumlist, i) - 1);
	return row;
}

/* For all columns of such rows; likewise. */
RowValues *
row_values_create_for(TupleDesc description)
{
	RowValues *row = create(description->natts);
	FmgrInfo *inputs = palloc(description->natts * sizeof(FmgrInfo));
	Oid *io_params = palloc(description->natts * sizeof(Oid));

	for (int i = 0; i < row->n_columns; i++)
	{
		Oid function;

		getTypeInputInfo(TupleDescAttr(description, i)->atttypid, &function, &io_params[i]);
		fmgr_info(function, &inputs[i]);
		set_column(&row->columns[i], description, i);
	}
	row->inputs = inputs;
	row->io_params = io_params;
	return row;
}

/* As COPY does it: an input function that is not strict sees NULL, too. */
static void
call_input(RowValues *row, const Column *column, char *text, Datum *value)
{
	CopyFromState copy = row->copy;

	if (copy != NULL)
	{
		copy->cur_attname = column->name;
		copy->cur_attval = text;
	}
	*value = InputFunctionCall(unconstify(FmgrInfo *, &row->inputs[column->index]), text,
							   row->io_params[column->index], column->typmod);
	if (copy != NULL)
		copy->cur_attname = copy->cur_attval = NULL;
}

/*
 * Parse the value of a column, of those that COPY names, from text that a zero
 * ends; NULL is NULL.
 */
void
row_value_parse(RowValues *row, int number, char *text, size_t len, Datum *values, bool *nulls)
{
	const Column *column = &row->columns[number];

	nulls[column->index] = text == NULL;
	if (text == NULL || !column->parse(column->typmod, text, len, &values[column->index]))
		call_input(row, column, text, &values[column->index]);
}

/* Parse a row of as many fields as there are columns. */
void
row_values_parse(RowValues *row, RowField *fields, Datum *values, bool *nulls)
{
	for (int i = 0; i < row->n_columns; i++)
	{
		RowField *field = &fields[i];
		bool is_null = row_field_is_null(field);

		if (!is_null && !row_field_unescape(field))
			ereport(ERROR, (errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
							errmsg("column \"%s\" holds a backslash that COPY does not write",
								   row->columns[i].name)));
		row_value_parse(row, i, is_null ? NULL : field->text, field->len, values, nulls);
	}
}
