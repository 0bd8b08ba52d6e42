/*
 * numeric_text.h
 *	  Reads numbers of common sizes from text.
 */
#ifndef STEEP_NUMERIC_TEXT_H
#define STEEP_NUMERIC_TEXT_H

#include "postgres.h"

#include "utils/numeric.h"

/* A number is its digits, divided by ten to the power of its scale. */
typedef struct DecimalText
{
	int64 digits;
	int whole; /* digits before the point */
	int scale; /* and behind it */
} DecimalText;

extern const char *integer_text_scan(const char *text, int64 *value);
extern const char *decimal_text_scan(const char *text, DecimalText *decimal);
extern Numeric decimal_to_numeric(const DecimalText *decimal);

#endif /* STEEP_NUMERIC_TEXT_H */
