/*
 * numeric_format.c
 *	  Numerics as their output function writes them.
 *
 * Reads them where they are stored, without a copy. A test holds this against
 * numeric_out.
 */
#include "text/numeric_format.h"

#include "fmgr.h"
#include "text/numeric_parts.h"
#include "varatt.h"

#define GROUP_DIGITS 4

/* The digits of a place: groups of zeros at either end are not stored. */
static int
group_at(const NumericParts *parts, int i)
{
	if (i < 0 || i >= parts->n_groups)
		return 0;
	return numeric_word(parts->groups + i * sizeof(uint16));
}

static char *
put_group(char *at, int group)
{
	at[0] = (char) ('0' + group / 1000);
	at[1] = (char) ('0' + group / 100 % 10);
	at[2] = (char) ('0' + group / 10 % 10);
	at[3] = (char) ('0' + group % 10);
	return at + GROUP_DIGITS;
}

/* Digits before the point, without zeros in front but for a single one. */
static char *
put_whole(char *at, const NumericParts *parts)
{
	char *begin = at;
	int zeros = 0;

	for (int i = 0; i <= parts->weight; i++)
		at = put_group(at, group_at(parts, i));
	while (begin + zeros < at - 1 && begin[zeros] == '0')
		zeros++;
	if (at == begin)
		*at++ = '0';
	if (zeros > 0)
		memmove(begin, begin + zeros, at - begin - zeros);
	return at - zeros;
}

static char *
put_fraction(char *at, const NumericParts *parts)
{
	char *end = at + 1 + parts->scale;

	*at++ = '.';
	for (int i = parts->weight + 1; at < end; i++)
		at = put_group(at, group_at(parts, i));
	return end;
}

/* Append a numeric; false, and nothing, where numeric_out has to do it. */
bool
numeric_format(StringInfo line, Datum value)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
	NumericParts parts;
	char *at;

	if (!numeric_take_apart(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed), &parts))
		return false;
	enlargeStringInfo(line, (Max(parts.weight, 0) + 3) * GROUP_DIGITS + parts.scale);
	at = line->data + line->len;
	if (parts.is_negative)
		*at++ = '-';
	at = put_whole(at, &parts);
	if (parts.scale > 0)
		at = put_fraction(at, &parts);
	line->len = (int) (at - line->data);
	return true;
}
