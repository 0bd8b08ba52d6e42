/*
 * row_source.h
 *	  The rows of a query, as lines of COPY text.
 */
#ifndef STEEP_ROW_SOURCE_H
#define STEEP_ROW_SOURCE_H

#include "text/row_text.h"

extern void row_source_read(const char *sql, RowSink sink);

#endif /* STEEP_ROW_SOURCE_H */
