/*
 * row_values.h
 *	  The values of a table's columns, from their types' text output.
 */
#ifndef STEEP_ROW_VALUES_H
#define STEEP_ROW_VALUES_H

#include "postgres.h"

#include "commands/copyfrom_internal.h"
#include "text/row_fields.h"

typedef struct RowValues RowValues;

extern RowValues *row_values_create(CopyFromState copy);
extern RowValues *row_values_create_for(TupleDesc description);
extern void
row_value_parse(RowValues *row, int number, char *text, size_t len, Datum *values, bool *nulls);
extern void row_values_parse(RowValues *row, RowField *fields, Datum *values, bool *nulls);

#endif /* STEEP_ROW_VALUES_H */
