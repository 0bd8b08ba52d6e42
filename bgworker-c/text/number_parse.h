/*
 * number_parse.h
 *	  Reads numbers of common sizes from text.
 */
#ifndef STEEP_NUMBER_PARSE_H
#define STEEP_NUMBER_PARSE_H

#include "postgres.h"

#include "utils/numeric.h"

/* A number is its digits, divided by ten to the power of its scale. */
typedef struct Decimal
{
	int64 digits;
	int whole; /* digits before the point */
	int scale; /* and behind it */
} Decimal;

extern const char *integer_scan(const char *text, int64 *value);
extern const char *decimal_scan(const char *text, Decimal *decimal);
extern Numeric decimal_to_numeric(const Decimal *decimal);

#endif /* STEEP_NUMBER_PARSE_H */
