/*
 * number_parse.c
 *	  Reads numbers of common sizes from text.
 *
 * The types' input functions read whatever a user may write. What their output
 * functions write is an optional minus, digits, and perhaps a point and more
 * digits; of those this reads as many as an int64 holds for certain.
 */
#include "text/number_parse.h"

#define MAX_DIGITS 18

/* Add digits to a value, one more than are wanted at most; how many there were. */
static int
scan_digits(const char **text, uint64 *value, int wanted)
{
	const char *begin = *text;
	const char *at = begin;

	while (*at >= '0' && *at <= '9' && at - begin <= wanted)
		*value = *value * 10 + (*at++ - '0');
	*text = at;
	return at - begin;
}

static int64
with_sign(uint64 magnitude, bool negative)
{
	return negative ? -(int64) magnitude : (int64) magnitude;
}

/* Read an integer; where it ended, or NULL where there is none of up to 18 digits. */
const char *
integer_scan(const char *text, int64 *value)
{
	bool negative = *text == '-';
	uint64 magnitude = 0;
	int n_digits;

	text += negative;
	n_digits = scan_digits(&text, &magnitude, MAX_DIGITS);
	if (n_digits == 0 || n_digits > MAX_DIGITS)
		return NULL;
	*value = with_sign(magnitude, negative);
	return text;
}

/* Read a number that may have a point; likewise. */
const char *
decimal_scan(const char *text, Decimal *decimal)
{
	bool negative = *text == '-';
	uint64 magnitude = 0;

	text += negative;
	decimal->whole = scan_digits(&text, &magnitude, MAX_DIGITS);
	decimal->scale = 0;
	if (decimal->whole == 0 || decimal->whole > MAX_DIGITS)
		return NULL;
	if (*text == '.')
	{
		text++;
		decimal->scale = scan_digits(&text, &magnitude, MAX_DIGITS - decimal->whole);
		if (decimal->scale == 0 || decimal->whole + decimal->scale > MAX_DIGITS)
			return NULL;
	}
	decimal->digits = with_sign(magnitude, negative);
	return text;
}

/* The number as numeric_in would read it, without a limit of its scale. */
Numeric
decimal_to_numeric(const Decimal *decimal)
{
	return decimal->scale == 0 ? int64_to_numeric(decimal->digits)
							   : int64_div_fast_to_numeric(decimal->digits, decimal->scale);
}
