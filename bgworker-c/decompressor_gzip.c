/*
 * decompressor_gzip.c
 *	  Members of a gzip file.
 */
#include "postgres.h"

#include <zlib.h>

#include "decompressor.h"

/* zlib's largest window, plus what makes it insist on gzip's header */
#define GZIP_WINDOW_BITS (15 + 16)

/* Pass on a library result that is not an error. */
static int
check(const z_stream *stream, int result)
{
	if (result == Z_MEM_ERROR)
		decompressor_out_of_memory();
	/* Z_BUF_ERROR: neither input nor room, which the next call brings */
	if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
		decompressor_failed(stream->msg != NULL ? stream->msg : zError(result));
	return result;
}

static void *
gzip_create(void)
{
	z_stream *stream = palloc0_object(z_stream);

	check(stream, inflateInit2(stream, GZIP_WINDOW_BITS));
	return stream;
}

static void
gzip_free(void *state)
{
	inflateEnd(state);
}

static void
gzip_begin(void *state)
{
	check(state, inflateReset(state));
}

static bool
gzip_step(void *state, DecompressorInput *in, DecompressorOutput *out)
{
	z_stream *stream = state;
	bool ended;

	stream->next_in = (Bytef *) unconstify(char *, in->data);
	stream->avail_in = (uInt) in->len;
	stream->next_out = (Bytef *) out->data;
	stream->avail_out = (uInt) out->len;
	ended = check(stream, inflate(stream, Z_NO_FLUSH)) == Z_STREAM_END;

	in->data += in->len - stream->avail_in;
	in->len = stream->avail_in;
	out->data += out->len - stream->avail_out;
	out->len = stream->avail_out;
	if (ended)
		gzip_begin(stream); /* what follows is another member */
	return !ended;
}

const DecompressorOps decompressor_gzip = {
	.create = gzip_create,
	.free = gzip_free,
	.begin = gzip_begin,
	.step = gzip_step,
};
