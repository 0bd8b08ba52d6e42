/*
 * byte_mask.h
 *	  Finds bytes of interest a vector at a time.
 *
 * Both functions look at MASK_BYTES bytes, which must be readable, and answer
 * a bit for each, the lowest for the first.
 */
#ifndef STEEP_BYTE_MASK_H
#define STEEP_BYTE_MASK_H

#include "postgres.h"

#include "port/simd.h"

#define MASK_BYTES 16

/* That a text needs behind its last byte, so that vectors may be read from any of its bytes on. */
#define MASK_PADDING (2 * MASK_BYTES)

#ifdef USE_NO_SIMD

static inline uint32
mask_any_of(const char *text, char a, char b, char c, char d)
{
	uint32 mask = 0;

	for (int i = 0; i < MASK_BYTES; i++)
		mask |= (uint32) (text[i] == a || text[i] == b || text[i] == c || text[i] == d) << i;
	return mask;
}

static inline uint32
mask_controls_or(const char *text, char a, char b)
{
	uint32 mask = 0;

	for (int i = 0; i < MASK_BYTES; i++)
		mask |= (uint32) ((uint8) text[i] <= 0x1f || text[i] == a || text[i] == b) << i;
	return mask;
}

#else

StaticAssertDecl(sizeof(Vector8) == MASK_BYTES, "a mask is of one vector");

static inline uint32
mask_any_of(const char *text, char a, char b, char c, char d)
{
	Vector8 chunk;
	Vector8 found;

	vector8_load(&chunk, (const uint8 *) text);
	found = vector8_or(vector8_eq(chunk, vector8_broadcast(a)),
					   vector8_eq(chunk, vector8_broadcast(b)));
	found = vector8_or(found, vector8_eq(chunk, vector8_broadcast(c)));
	return vector8_highbit_mask(vector8_or(found, vector8_eq(chunk, vector8_broadcast(d))));
}

static inline uint32
mask_controls_or(const char *text, char a, char b)
{
	Vector8 chunk;

	vector8_load(&chunk, (const uint8 *) text);
	return vector8_highbit_mask(
		vector8_or(vector8_or(vector8_eq(chunk, vector8_broadcast(a)),
							  vector8_eq(chunk, vector8_broadcast(b))),
				   vector8_eq(vector8_min(chunk, vector8_broadcast(0x1f)), chunk)));
}

#endif

#endif /* STEEP_BYTE_MASK_H */
