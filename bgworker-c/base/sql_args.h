/*
 * sql_args.h
 *	  Parameters of a statement, each with its type: sql_execute(sql, SQL_ARGS(arg_int8(id), arg_text(name))).
 */
#ifndef STEEP_SQL_ARGS_H
#define STEEP_SQL_ARGS_H

#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

typedef struct SqlArg
{
	Oid type;
	Datum value;
	bool is_null;
} SqlArg;

#define SQL_ARGS(...)                                           \
	(int) lengthof(((SqlArg[]){__VA_ARGS__})), (const SqlArg[]) \
	{                                                           \
		__VA_ARGS__                                             \
	}
#define NO_ARGS 0, NULL

static inline SqlArg
arg_int4(int32 value)
{
	return (SqlArg){INT4OID, Int32GetDatum(value), false};
}

static inline SqlArg
arg_int8(int64 value)
{
	return (SqlArg){INT8OID, Int64GetDatum(value), false};
}

static inline SqlArg
arg_bool(bool value)
{
	return (SqlArg){BOOLOID, BoolGetDatum(value), false};
}

static inline SqlArg
arg_oid(Oid value)
{
	return (SqlArg){OIDOID, ObjectIdGetDatum(value), false};
}

static inline SqlArg
arg_lsn(XLogRecPtr value)
{
	return (SqlArg){PG_LSNOID, LSNGetDatum(value), false};
}

/* A text; NULL is NULL. */
static inline SqlArg
arg_text(const char *value)
{
	return (SqlArg){TEXTOID, value ? CStringGetTextDatum(value) : (Datum) 0, value == NULL};
}

static inline SqlArg
arg_datum(Oid type, Datum value)
{
	return (SqlArg){type, value, false};
}

/* An array of texts, none of which is NULL. */
static inline SqlArg
arg_texts(char **values, int n)
{
	Datum *texts = palloc_array(Datum, n);

	for (int i = 0; i < n; i++)
		texts[i] = CStringGetTextDatum(values[i]);
	return (SqlArg){TEXTARRAYOID, PointerGetDatum(construct_array_builtin(texts, n, TEXTOID)),
					false};
}

/* The value if there is one, else NULL. */
static inline SqlArg
arg_if(bool is_there, SqlArg arg)
{
	arg.is_null = !is_there;
	return arg;
}

extern int sql_execute(const char *sql, int n, const SqlArg *args);

#endif /* STEEP_SQL_ARGS_H */
