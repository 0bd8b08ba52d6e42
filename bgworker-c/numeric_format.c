/*
 * numeric_format.c
 *	  Numerics as their output function writes them.
 *
 * Reads them where they are stored, without a copy, by the layout that they have
 * on disk. The server keeps that to itself, but cannot change it either: a
 * database survives pg_upgrade as it is. A test holds this against numeric_out.
 *
 * One or two words are followed by digits of base 10000, the first of which
 * counts 10000 to the power of the weight:
 *
 *	  short  10, sign, 6 bits of scale, sign of the weight, 6 bits of weight
 *	  long   00 or 01 (the sign), 14 bits of scale; a word of weight
 *
 * 11 begins what is no number, which is left to numeric_out.
 */
#include "numeric_format.h"

#include "fmgr.h"
#include "varatt.h"

#define GROUP_DIGITS 4

typedef struct Parts
{
	bool is_negative;
	int weight;
	int scale;
	int n_groups;
	const char *groups; /* of two bytes, anywhere in memory */
} Parts;

static uint16
word_at(const char *data)
{
	uint16 word;

	memcpy(&word, data, sizeof(word));
	return word;
}

/* Take a numeric apart; false for what is no number. */
static bool
take_apart(const char *data, size_t len, Parts *parts)
{
	uint16 head = word_at(data);
	size_t head_bytes = sizeof(uint16);

	if ((head & 0xC000) == 0xC000)
		return false;
	if ((head & 0xC000) == 0x8000)
	{
		parts->is_negative = (head & 0x2000) != 0;
		parts->scale = (head & 0x1F80) >> 7;
		parts->weight = (head & 0x003F) - ((head & 0x0040) != 0 ? 64 : 0);
	}
	else
	{
		parts->is_negative = (head & 0xC000) == 0x4000;
		parts->scale = head & 0x3FFF;
		parts->weight = (int16) word_at(data + sizeof(uint16));
		head_bytes += sizeof(uint16);
	}
	parts->groups = data + head_bytes;
	parts->n_groups = (int) ((len - head_bytes) / sizeof(uint16));
	return true;
}

/* The digits of a place: groups of zeros at either end are not stored. */
static int
group_at(const Parts *parts, int i)
{
	if (i < 0 || i >= parts->n_groups)
		return 0;
	return word_at(parts->groups + i * sizeof(uint16));
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
put_whole(char *at, const Parts *parts)
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
put_fraction(char *at, const Parts *parts)
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
	Parts parts;
	char *at;

	if (!take_apart(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed), &parts))
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
