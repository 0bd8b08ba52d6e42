/*
 * sql_args.c
 *	  Running a statement with parameters, connected to SPI.
 */
#include "base/sql_args.h"

#include "executor/spi.h"

#define MAX_ARGS 16

/* Returns SPI's code; rows stay in SPI_tuptable, their number in SPI_processed. */
int
sql_execute(const char *sql, int n, const SqlArg *args)
{
	Oid types[MAX_ARGS];
	Datum values[MAX_ARGS];
	char nulls[MAX_ARGS];

	Assert(n <= MAX_ARGS);
	for (int i = 0; i < n; i++)
	{
		types[i] = args[i].type;
		values[i] = args[i].value;
		nulls[i] = args[i].is_null ? 'n' : ' ';
	}
	return SPI_execute_with_args(sql, n, types, values, nulls, false, 0);
}
