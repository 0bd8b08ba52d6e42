/*
 * bytebuffer.c
 *	  A growable byte array without StringInfo's limit of 1 GB.
 */
#include "postgres.h"

#include "base/bytebuffer.h"
#include "utils/memutils.h"

/* Start an empty buffer in CurrentMemoryContext. */
void
bytebuffer_init(ByteBuffer *buf, size_t capacity)
{
	buf->context = CurrentMemoryContext;
	buf->data = MemoryContextAllocHuge(buf->context, Max(capacity, 1));
	buf->len = 0;
	buf->capacity = Max(capacity, 1);
}

/* Make room for so many more bytes after len. */
void
bytebuffer_reserve(ByteBuffer *buf, size_t more)
{
	size_t capacity = buf->capacity;

	if (more <= capacity - buf->len)
		return;
	if (more > MaxAllocHugeSize / 4 - buf->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("byte buffer of %zu bytes cannot grow by %zu bytes", buf->len, more)));
	while (capacity - buf->len < more)
		capacity *= 2;
	buf->data = repalloc_huge(buf->data, capacity);
	buf->capacity = capacity;
}

/* Append bytes. */
void
bytebuffer_append(ByteBuffer *buf, const void *data, size_t len)
{
	if (len == 0)
		return;
	bytebuffer_reserve(buf, len);
	memcpy(buf->data + buf->len, data, len);
	buf->len += len;
}

/*
 * Empty the buffer and give back what exceeds the capacity, so that one huge
 * content does not keep its memory.
 */
void
bytebuffer_shrink(ByteBuffer *buf, size_t capacity)
{
	buf->len = 0;
	if (buf->capacity <= capacity)
		return;
	pfree(buf->data);
	buf->data = NULL;
	buf->capacity = 0;
	buf->data = MemoryContextAllocHuge(buf->context, capacity);
	buf->capacity = capacity;
}
