/*
 * planned_sql.c
 *	  Runs SQL that a planner made, and sees to it that the answer is what it
 *	  should be before anything of it is read.
 *
 * The text may be anything, as what JavaScript says may be. It runs with the
 * requester's rights and reads only; a datum of another type, read as if it
 * were the right one, would bring the server down.
 */
#include "jobs/planned_sql.h"

#include "jobs/action.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"

static void
check_columns(const PlannedQuery *query)
{
	TupleDesc desc = SPI_tuptable->tupdesc;

	if (desc->natts != query->n_columns)
		wrong_answer("query \"%s\" has %d columns instead of %d", query->name, desc->natts,
					 query->n_columns);
	for (int i = 0; i < query->n_columns; i++)
		if (SPI_gettypeid(desc, i + 1) != query->columns[i].type)
			wrong_answer("column %d of query \"%s\" is of another type", i + 1, query->name);
}

static void
check_row(const PlannedQuery *query, HeapTuple row)
{
	for (int i = 0; i < query->n_columns; i++)
	{
		bool isnull;
		Datum value = SPI_getbinval(row, SPI_tuptable->tupdesc, i + 1, &isnull);

		if (isnull && !query->columns[i].may_be_null)
			wrong_answer("column %d of query \"%s\" has a NULL", i + 1, query->name);
		if (!isnull && query->columns[i].type == TEXTARRAYOID &&
			array_contains_nulls(DatumGetArrayTypeP(value)))
			wrong_answer("an array of query \"%s\" has a NULL", query->name);
	}
}

/* Run a query; returns the number of rows, which stay in SPI_tuptable. */
uint64
planned_select(const PlannedQuery *query)
{
	int rc = SPI_execute_with_args(query->sql, query->n_args, (Oid *) query->types,
								   (Datum *) query->values, NULL, true, 0);

	if (rc != SPI_OK_SELECT || SPI_tuptable == NULL)
		wrong_answer("query \"%s\" is no SELECT", query->name);
	check_columns(query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		check_row(query, SPI_tuptable->vals[i]);
	}
	return SPI_processed;
}

/* Whether a query, whatever its columns are, finds anything. */
bool
planned_finds_row(const char *name, const char *sql)
{
	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		wrong_answer("query \"%s\" is no SELECT", name);
	return SPI_processed > 0;
}

/* Values of a row whose columns were checked. */

char *
planned_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

Oid
planned_oid(uint64 row, int column)
{
	bool isnull;

	return DatumGetObjectId(
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}

int64
planned_int64(uint64 row, int column)
{
	bool isnull;

	return DatumGetInt64(
		SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}
