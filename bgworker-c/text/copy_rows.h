/*
 * copy_rows.h
 *	  COPY FROM with our own reader of rows.
 */
#ifndef STEEP_COPY_ROWS_H
#define STEEP_COPY_ROWS_H

#include "postgres.h"

#include "commands/copyfrom_internal.h"
#include "text/row_fields.h"

extern void copy_rows_begin(CopyFromState copy, RowBytes source, uint64 expected);

#endif /* STEEP_COPY_ROWS_H */
