/*
 * planned_sql.h
 *	  SQL that a planner made, run with the requester's rights.
 */
#ifndef STEEP_PLANNED_SQL_H
#define STEEP_PLANNED_SQL_H

#include "postgres.h"

#include "utils/jsonb.h"

/* A column of what a query must answer. */
typedef struct AnswerColumn
{
	Oid type;
	bool may_be_null;
} AnswerColumn;

typedef struct PlannedQuery
{
	const char *name; /* for errors: the action's member */
	const char *sql;
	int n_args;
	const Oid *types;
	const Datum *values;
	const AnswerColumn *columns;
	int n_columns;
} PlannedQuery;

extern uint64 planned_select(const PlannedQuery *query);
extern bool planned_finds_row(const char *name, const char *sql);
extern char *planned_text(uint64 row, int column);
extern Oid planned_oid(uint64 row, int column);
extern int64 planned_int64(uint64 row, int column);

#endif /* STEEP_PLANNED_SQL_H */
