/*
 * row_copy.h
 *	  COPY FROM with rows that C code makes, and the rights that COPY needs.
 */
#ifndef STEEP_ROW_COPY_H
#define STEEP_ROW_COPY_H

#include "postgres.h"

#include "commands/copyfrom_internal.h"
#include "utils/rel.h"

/* Fills the columns of a row; false after the last one. */
typedef bool (*RowSource)(CopyFromState copy, ExprContext *econtext, Datum *values, bool *nulls);

/* Called once COPY knows the columns. */
typedef void (*RowSourceBegin)(CopyFromState copy);

extern ParseState *row_copy_rights(Relation rel, List *columns);
extern uint64 row_copy(Relation rel, List *columns, RowSourceBegin begin, RowSource source);

#endif /* STEEP_ROW_COPY_H */
