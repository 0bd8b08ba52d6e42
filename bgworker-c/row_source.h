/*
 * row_source.h
 *	  The rows of a query, as lines of COPY text.
 */
#ifndef STEEP_ROW_SOURCE_H
#define STEEP_ROW_SOURCE_H

#include "postgres.h"

/* Takes a row with the newline at its end; it is gone after the call. */
typedef void (*RowSink)(const char *line, size_t len);

extern void row_source_read(const char *sql, RowSink sink);

#endif /* STEEP_ROW_SOURCE_H */
