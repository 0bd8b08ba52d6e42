/*
 * decompressor_gzip.c
 *	  Members of a gzip file.
 */
#include "postgres.h"

#include <zlib.h>

#include "frames/decompressor.h"

/* zlib's largest window, plus what makes it insist on gzip's header */
#define GZIP_WINDOW_BITS (15 + 16)

/* Keep what a library result says, if it is an error. */
static void
check(const z_stream *stream, int result, FrameError *error)
{
	if (result == Z_MEM_ERROR)
		decompressor_out_of_memory(error);
	/* Z_BUF_ERROR: neither input nor room, which the next call brings */
	else if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
		decompressor_failed(error, stream->msg != NULL ? stream->msg : zError(result));
}

static void *
gzip_create(FrameError *error)
{
	z_stream *stream = palloc0_object(z_stream);

	check(stream, inflateInit2(stream, GZIP_WINDOW_BITS), error);
	return stream;
}

static void
gzip_free(void *state)
{
	inflateEnd(state);
}

static void
gzip_begin(void *state, FrameError *error)
{
	check(state, inflateReset(state), error);
}

static bool
gzip_step(void *state, DecompressorInput *in, DecompressorOutput *out, FrameError *error)
{
	z_stream *stream = state;
	int result;

	stream->next_in = (Bytef *) unconstify(char *, in->data);
	stream->avail_in = (uInt) in->len;
	stream->next_out = (Bytef *) out->data;
	stream->avail_out = (uInt) out->len;
	result = inflate(stream, Z_NO_FLUSH);
	check(stream, result, error);

	in->data += in->len - stream->avail_in;
	in->len = stream->avail_in;
	out->data += out->len - stream->avail_out;
	out->len = stream->avail_out;
	if (result == Z_STREAM_END)
		gzip_begin(stream, error); /* what follows is another member */
	return result != Z_STREAM_END;
}

const DecompressorOps decompressor_gzip = {
	.create = gzip_create,
	.free = gzip_free,
	.begin = gzip_begin,
	.step = gzip_step,
};
