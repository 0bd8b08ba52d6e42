/*
 * image_rows.c
 *	  Rows from their images: written by COPY, or as a query reads them.
 */
#include "postgres.h"

#include "access/table.h"
#include "merge/answer_read.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "merge/image_read.h"
#include "miscadmin.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "text/row_copy.h"
#include "text/row_values.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(steep_repl_insert_images);
PG_FUNCTION_INFO_V1(steep_repl_image_rows);

/* Images, a line each, of which each gives the values of a row. */
typedef struct ImageRows
{
	MemoryContext context;
	char *at; /* the next image */
	ImageReader *reader;
	RowValues *values;
	int n_columns;
	const char **columns;
	int *fields; /* of the image, for each column; none yet: NULL */
} ImageRows;

/*
 * Of the COPY that runs: its source of rows has no argument but COPY's own
 * state. What that calls, such as a trigger, may run another one.
 */
static ImageRows *copied;

/* In CurrentMemoryContext; the columns' names are to be set. */
static ImageRows *
image_rows_create(text *images, int n_columns)
{
	ImageRows *rows = palloc0(sizeof(ImageRows));

	rows->context = CurrentMemoryContext;
	rows->at = images_copy(VARDATA_ANY(images), VARSIZE_ANY_EXHDR(images));
	rows->reader = image_reader_create();
	rows->n_columns = n_columns;
	rows->columns = palloc0(n_columns * sizeof(char *));
	return rows;
}

static void
find_fields(ImageRows *rows)
{
	const ImageField *fields = image_fields(rows->reader);

	if (rows->fields == NULL)
		rows->fields = MemoryContextAlloc(rows->context, rows->n_columns * sizeof(int));
	for (int i = 0; i < rows->n_columns; i++)
	{
		const ImageField *field = image_field(rows->reader, rows->columns[i]);

		if (field == NULL)
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
							errmsg("the image of a row lacks column \"%s\"", rows->columns[i])));
		rows->fields[i] = (int) (field - fields);
	}
}

/* The values of the next image; how many bytes it had, 0 after the last one. */
static size_t
image_rows_next(ImageRows *rows, Datum *values, bool *nulls)
{
	char *begin = rows->at;
	ImageField *fields;
	char *end;

	CHECK_FOR_INTERRUPTS();
	if (*begin == '\0')
		return 0;
	end = image_read(rows->reader, begin);
	if (rows->fields == NULL || image_shape_is_new(rows->reader))
		find_fields(rows);
	rows->at = end + (*end == '\n');
	fields = image_fields(rows->reader);
	for (int i = 0; i < rows->n_columns; i++)
	{
		ImageField *field = &fields[rows->fields[i]];

		row_value_parse(rows->values, i, field->value, field->len, values, nulls);
	}
	return end - begin;
}

static void
begin(CopyFromState copy)
{
	MemoryContext previous = MemoryContextSwitchTo(copy->copycontext);

	copied->values = row_values_create(copy);
	MemoryContextSwitchTo(previous);
}

static bool
read_row(CopyFromState copy, ExprContext *econtext, Datum *values, bool *nulls)
{
	size_t len;

	copy->cur_lineno++;
	copy->line_buf_valid = false;
	len = image_rows_next(copied, values, nulls);
	/* by which COPY bounds how many rows it holds in memory */
	copy->line_buf.len = (int) len;
	return len > 0;
}

static bool
is_fired(const RewriteRule *rule)
{
	char when = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ? RULE_FIRES_ON_REPLICA
																		   : RULE_FIRES_ON_ORIGIN;

	return rule->event == CMD_INSERT &&
		   (rule->enabled == when || rule->enabled == RULE_FIRES_ALWAYS);
}

/* COPY does not know of rules. */
static void
check_rules(Relation rel)
{
	RuleLock *rules = rel->rd_rules;

	for (int i = 0; rules != NULL && i < rules->numLocks; i++)
		if (is_fired(rules->rules[i]))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("table \"%s\" has a rule for INSERT", RelationGetRelationName(rel)),
					 errhint("Disable it, or use a trigger instead.")));
}

static uint64
insert_rows(Oid target, List *columns, ImageRows *rows)
{
	Relation rel = table_open(target, RowExclusiveLock);
	ImageRows *outer = copied;
	uint64 n = 0;

	check_rules(rel);
	PG_TRY();
	{
		copied = rows;
		n = row_copy(rel, columns, begin, read_row);
	}
	PG_FINALLY();
	{
		copied = outer;
	}
	PG_END_TRY();
	table_close(rel, NoLock);
	return n;
}

/* steep_repl._insert_images(target, columns, images), with the caller's rights; how many rows were written. */
Datum
steep_repl_insert_images(PG_FUNCTION_ARGS)
{
	List *columns = NIL;
	ImageRows *rows;
	Datum *names;
	int n_names;

	PreventCommandIfReadOnly("COPY FROM");
	deconstruct_array_builtin(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, &names, NULL, &n_names);
	if (n_names == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there are no columns to insert")));
	rows = image_rows_create(PG_GETARG_TEXT_PP(2), n_names);
	for (int i = 0; i < n_names; i++)
	{
		char *name = TextDatumGetCString(names[i]);

		rows->columns[i] = name;
		columns = lappend(columns, makeString(name));
	}
	PG_RETURN_INT64((int64) insert_rows(PG_GETARG_OID(0), columns, rows));
}

/* steep_repl._image_rows(images), as rows of the columns that the query asks for. */
Datum
steep_repl_image_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext of_row;
	MemoryContext previous;
	TupleDesc description;
	ImageRows *rows;
	Datum *values;
	bool *nulls;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	description = result->setDesc;
	rows = image_rows_create(PG_GETARG_TEXT_PP(0), description->natts);
	rows->values = row_values_create_for(description);
	for (int i = 0; i < description->natts; i++)
		rows->columns[i] = NameStr(TupleDescAttr(description, i)->attname);
	values = palloc(description->natts * sizeof(Datum));
	nulls = palloc(description->natts * sizeof(bool));
	of_row = AllocSetContextCreate(CurrentMemoryContext, "steep_repl row", ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(of_row);
	while (image_rows_next(rows, values, nulls) > 0)
	{
		tuplestore_putvalues(result->setResult, description, values, nulls);
		MemoryContextReset(of_row);
	}
	MemoryContextSwitchTo(previous);
	return (Datum) 0;
}
