/*
 * bytebuffer.h
 *	  A growable byte array without StringInfo's limit of 1 GB.
 */
#ifndef STEEP_BYTEBUFFER_H
#define STEEP_BYTEBUFFER_H

#include "postgres.h"

typedef struct ByteBuffer
{
	MemoryContext context; /* where data lives */
	char *data;
	size_t len; /* bytes in use */
	size_t capacity;
} ByteBuffer;

extern void bytebuffer_init(ByteBuffer *buf, size_t capacity);
extern void bytebuffer_reserve(ByteBuffer *buf, size_t more);
extern void bytebuffer_append(ByteBuffer *buf, const void *data, size_t len);
extern void bytebuffer_shrink(ByteBuffer *buf, size_t capacity);

#endif /* STEEP_BYTEBUFFER_H */
