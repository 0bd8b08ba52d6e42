/*
 * row_text.h
 *	  Rows as the lines of text that COPY ... TO would write.
 */
#ifndef STEEP_ROW_TEXT_H
#define STEEP_ROW_TEXT_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "lib/stringinfo.h"

typedef struct RowText RowText;

extern RowText *row_text_create(TupleDesc description);
extern const StringInfoData *row_text_format(RowText *row, TupleTableSlot *slot);

#endif /* STEEP_ROW_TEXT_H */
