/*
 * compressor.c
 *	  Streaming compression into memory, one frame after the other.
 *
 * The libraries' contexts are malloc'ed and costly to make, so one serves all
 * frames of a worker; a memory-context callback frees it on every way out.
 */
#include "postgres.h"

#include "compressor.h"
#include "miscadmin.h"

/* A library call takes at most this much, so that a cancel is soon seen. */
#define PIECE_BYTES ((size_t) 1024 * 1024)

static void *
none_create(int level)
{
	return NULL;
}

static void
none_free(void *state)
{
}

static void
none_begin(void *state, ByteBuffer *out)
{
}

static void
none_add(void *state, const void *data, size_t len, ByteBuffer *out)
{
	bytebuffer_append(out, data, len);
}

static void
none_end(void *state, ByteBuffer *out)
{
}

static const CompressorOps compressor_none = {
	.create = none_create,
	.free = none_free,
	.begin = none_begin,
	.add = none_add,
	.end = none_end,
};

static const CompressorOps *const implementations[] = {
	[CODEC_NONE] = &compressor_none,
	[CODEC_GZIP] = &compressor_gzip,
	[CODEC_LZ4] = &compressor_lz4,
	[CODEC_ZSTD] = &compressor_zstd,
};

/* Free the library's context with the memory context that held us. */
static void
release_state(void *arg)
{
	Compressor *compressor = arg;

	compressor->ops->free(compressor->state);
}

/* A compressor that lives as long as CurrentMemoryContext. */
Compressor *
compressor_create(Codec codec, int level)
{
	Compressor *compressor = palloc0_object(Compressor);
	int min;
	int max;
	int dflt;

	codec_level_range(codec, &min, &max, &dflt);
	if (level < min || level > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("compression level %d is out of range for %s", level, codec_name(codec)),
				 errdetail("Levels go from %d to %d.", min, max)));

	compressor->ops = implementations[codec];
	compressor->level = level;
	compressor->state = compressor->ops->create(level);
	compressor->release.func = release_state;
	compressor->release.arg = compressor;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &compressor->release);
	return compressor;
}

/* Start a frame, forgetting one that was not ended. */
void
compressor_begin(Compressor *compressor, ByteBuffer *out)
{
	compressor->ops->begin(compressor->state, out);
}

/* Compress data of any length into the frame. */
void
compressor_add(Compressor *compressor, const void *data, size_t len, ByteBuffer *out)
{
	const char *piece = data;

	while (len > 0)
	{
		size_t piece_len = Min(len, PIECE_BYTES);

		CHECK_FOR_INTERRUPTS();
		compressor->ops->add(compressor->state, piece, piece_len, out);
		piece += piece_len;
		len -= piece_len;
	}
}

/* Complete the frame. */
void
compressor_end(Compressor *compressor, ByteBuffer *out)
{
	compressor->ops->end(compressor->state, out);
}

/* Whether a frame is better gathered first and compressed at once. */
bool
compressor_prefers_whole(const Compressor *compressor)
{
	return compressor->ops->whole != NULL && compressor->level <= compressor->ops->whole_max_level;
}

/* Compress a whole frame, in place of begin, add and end. */
void
compressor_whole(Compressor *compressor, const void *data, size_t len, ByteBuffer *out)
{
	CHECK_FOR_INTERRUPTS();
	compressor->ops->whole(compressor->state, data, len, out);
}

/* Raise a library's own words. */
void
compressor_failed(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compress data: %s", reason)));
}
