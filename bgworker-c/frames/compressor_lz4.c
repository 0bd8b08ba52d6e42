/*
 * compressor_lz4.c
 *	  Frames in LZ4's frame format.
 */
#include "postgres.h"

#include <lz4frame.h>

#include "frames/compressor.h"

/* From 3 on the high-compression mode is used, up to 9 at 20 MB/s or more. */
#define LZ4_WHOLE_MAX_LEVEL 9

typedef struct Lz4State
{
	LZ4F_cctx *cctx;
	LZ4F_preferences_t preferences;
} Lz4State;

/* Pass on a library result that is not an error. */
static size_t
check(size_t result)
{
	if (LZ4F_isError(result))
		compressor_failed(LZ4F_getErrorName(result));
	return result;
}

static void *
lz4_create(int level)
{
	Lz4State *lz4 = palloc0_object(Lz4State);

	lz4->preferences.compressionLevel = level;
	check(LZ4F_createCompressionContext(&lz4->cctx, LZ4F_VERSION));
	return lz4;
}

static void
lz4_free(void *state)
{
	LZ4F_freeCompressionContext(((Lz4State *) state)->cctx);
}

static void
lz4_begin(void *state, ByteBuffer *out)
{
	Lz4State *lz4 = state;

	bytebuffer_reserve(out, LZ4F_HEADER_SIZE_MAX);
	out->len += check(LZ4F_compressBegin(lz4->cctx, out->data + out->len, out->capacity - out->len,
										 &lz4->preferences));
}

static void
lz4_add(void *state, const void *data, size_t len, ByteBuffer *out)
{
	Lz4State *lz4 = state;

	bytebuffer_reserve(out, LZ4F_compressBound(len, &lz4->preferences));
	out->len += check(LZ4F_compressUpdate(lz4->cctx, out->data + out->len, out->capacity - out->len,
										  data, len, NULL));
}

static void
lz4_end(void *state, ByteBuffer *out)
{
	Lz4State *lz4 = state;

	bytebuffer_reserve(out, LZ4F_compressBound(0, &lz4->preferences));
	out->len +=
		check(LZ4F_compressEnd(lz4->cctx, out->data + out->len, out->capacity - out->len, NULL));
}

static size_t
lz4_bound(void *state, size_t len)
{
	return LZ4F_HEADER_SIZE_MAX + LZ4F_compressBound(len, &((Lz4State *) state)->preferences);
}

static const char *
lz4_whole(void *state, const void *data, size_t len, void *out, size_t room, size_t *out_len)
{
	Lz4State *lz4 = state;
	char *p = out;
	size_t result = LZ4F_compressBegin(lz4->cctx, p, room, &lz4->preferences);

	*out_len = 0;
	if (!LZ4F_isError(result))
	{
		*out_len += result;
		result = LZ4F_compressUpdate(lz4->cctx, p + *out_len, room - *out_len, data, len, NULL);
	}
	if (!LZ4F_isError(result))
	{
		*out_len += result;
		result = LZ4F_compressEnd(lz4->cctx, p + *out_len, room - *out_len, NULL);
	}
	*out_len += result;
	return LZ4F_isError(result) ? LZ4F_getErrorName(result) : NULL;
}

const CompressorOps compressor_lz4 = {
	.create = lz4_create,
	.free = lz4_free,
	.begin = lz4_begin,
	.add = lz4_add,
	.end = lz4_end,
	.whole = lz4_whole,
	.bound = lz4_bound,
	.whole_max_level = LZ4_WHOLE_MAX_LEVEL,
};
