/*
 * row_text.h
 *	  Rows as the lines of text that COPY ... TO would write.
 */
#ifndef STEEP_ROW_TEXT_H
#define STEEP_ROW_TEXT_H

#include "postgres.h"

#include "access/attnum.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"

typedef struct RowText RowText;

/* Takes a row with the newline at its end; it is gone after the call. */
typedef void (*RowSink)(const char *line, size_t len);

extern RowText *row_text_create(TupleDesc description, const AttrNumber *columns, int n_columns);
extern const StringInfoData *row_text_format(RowText *row, TupleTableSlot *slot);

#endif /* STEEP_ROW_TEXT_H */
