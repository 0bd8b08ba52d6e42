/*
 * compressor_gzip.c
 *	  Members of a gzip file.
 */
#include "postgres.h"

#include <zlib.h>

#include "frames/compressor.h"

/* zlib's largest window, plus what asks it for gzip's header and trailer */
#define GZIP_WINDOW_BITS (15 + 16)
#define GZIP_MEMORY_LEVEL 8
#define GZIP_OUTPUT_STEP ((size_t) 64 * 1024)

static const char *
reason(const z_stream *stream, int result)
{
	return stream->msg != NULL ? stream->msg : zError(result);
}

static void *
gzip_create(int level)
{
	z_stream *stream = palloc0_object(z_stream);
	int result = deflateInit2(stream, level, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL,
							  Z_DEFAULT_STRATEGY);

	if (result != Z_OK)
		compressor_failed(reason(stream, result));
	return stream;
}

static void
gzip_free(void *state)
{
	deflateEnd(state);
}

static void
gzip_begin(void *state, ByteBuffer *out)
{
	int result = deflateReset(state);

	if (result != Z_OK)
		compressor_failed(reason(state, result));
}

/* One call of deflate(), with room for its output; true when a member ended. */
static bool
gzip_step(z_stream *stream, int flush, ByteBuffer *out)
{
	int result;
	size_t room;

	bytebuffer_reserve(out, GZIP_OUTPUT_STEP);
	room = Min(out->capacity - out->len, (size_t) PG_INT32_MAX);
	stream->next_out = (Bytef *) out->data + out->len;
	stream->avail_out = (uInt) room;
	result = deflate(stream, flush);
	if (result != Z_OK && result != Z_STREAM_END)
		compressor_failed(reason(stream, result));
	out->len += room - stream->avail_out;
	return result == Z_STREAM_END;
}

static void
gzip_add(void *state, const void *data, size_t len, ByteBuffer *out)
{
	z_stream *stream = state;

	stream->next_in = (Bytef *) unconstify(void *, data);
	stream->avail_in = (uInt) len;
	while (stream->avail_in > 0)
		gzip_step(stream, Z_NO_FLUSH, out);
}

static void
gzip_end(void *state, ByteBuffer *out)
{
	z_stream *stream = state;

	stream->next_in = NULL;
	stream->avail_in = 0;
	while (!gzip_step(stream, Z_FINISH, out))
		;
}

static size_t
gzip_bound(void *state, size_t len)
{
	return deflateBound(state, len);
}

static const char *
gzip_whole(void *state, const void *data, size_t len, void *out, size_t room, size_t *out_len)
{
	z_stream *stream = state;
	int result = deflateReset(stream);

	if (result == Z_OK)
	{
		stream->next_in = (Bytef *) unconstify(void *, data);
		stream->avail_in = (uInt) len;
		stream->next_out = out;
		stream->avail_out = (uInt) room;
		result = deflate(stream, Z_FINISH);
	}
	*out_len = room - stream->avail_out;
	return result == Z_STREAM_END ? NULL : reason(stream, result);
}

const CompressorOps compressor_gzip = {
	.create = gzip_create,
	.free = gzip_free,
	.begin = gzip_begin,
	.add = gzip_add,
	.end = gzip_end,
	.whole = gzip_whole,
	.bound = gzip_bound,
	.whole_max_level = 6,
};
