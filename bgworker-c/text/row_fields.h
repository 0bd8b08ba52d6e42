/*
 * row_fields.h
 *	  Rows of COPY text, found in a stream of bytes.
 */
#ifndef STEEP_ROW_FIELDS_H
#define STEEP_ROW_FIELDS_H

#include "postgres.h"

/* Delivers bytes; fewer than len of them only at their end. */
typedef size_t (*RowBytes)(void *buf, size_t len);

/* As it stands in the row, until row_field_text makes it the field's text. */
typedef struct RowField
{
	char *text;
	size_t len;
	bool escaped; /* holds a backslash */
} RowField;

typedef enum RowRead
{
	ROW_FOUND,
	ROW_END,
	ROW_CUT_OFF,         /* the bytes end within it */
	ROW_CARRIAGE_RETURN, /* it holds one that COPY would have written as \\r */
	ROW_INVALID,         /* no text in that encoding */
} RowRead;

typedef struct RowFields RowFields;

extern RowFields *row_fields_create(int max_fields, int encoding, RowBytes source, uint64 expected);
extern RowRead row_fields_next(RowFields *rows);
extern RowField *row_fields_get(RowFields *rows, int *n_fields);
extern const char *row_fields_line(const RowFields *rows, size_t *len);
pg_noreturn extern void row_fields_report_invalid(const RowFields *rows);
extern bool row_field_is_null(const RowField *field);
extern bool row_field_unescape(RowField *field);

#endif /* STEEP_ROW_FIELDS_H */
