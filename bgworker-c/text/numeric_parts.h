/*
 * numeric_parts.h
 *	  A numeric as it is stored, taken apart.
 *
 * By the layout that numerics have on disk. The server keeps that to itself, but
 * cannot change it either: a database survives pg_upgrade as it is.
 *
 * One or two words are followed by digits of base 10000, the first of which
 * counts 10000 to the power of the weight:
 *
 *	  short  10, sign, 6 bits of scale, sign of the weight, 6 bits of weight
 *	  long   00 or 01 (the sign), 14 bits of scale; a word of weight
 *
 * 11 begins what is no number. Groups of zeros at either end are not stored.
 */
#ifndef STEEP_NUMERIC_PARTS_H
#define STEEP_NUMERIC_PARTS_H

#include "postgres.h"

typedef struct NumericParts
{
	bool is_negative;
	int weight;
	int scale;
	int n_groups;
	const char *groups; /* of two bytes, anywhere in memory */
} NumericParts;

static inline uint16
numeric_word(const char *data)
{
	uint16 word;

	memcpy(&word, data, sizeof(word));
	return word;
}

/* Take the data of a numeric apart; false for what is no number. */
static inline bool
numeric_take_apart(const char *data, size_t len, NumericParts *parts)
{
	uint16 head = numeric_word(data);
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
		parts->weight = (int16) numeric_word(data + sizeof(uint16));
		head_bytes += sizeof(uint16);
	}
	parts->groups = data + head_bytes;
	parts->n_groups = (int) ((len - head_bytes) / sizeof(uint16));
	return true;
}

#endif /* STEEP_NUMERIC_PARTS_H */
