/*
 * compressor.c
 *	  Streaming compression into memory, one frame after the other.
 *
 * The libraries' contexts are malloc'ed and costly to make, so one serves all
 * frames of a worker; a memory-context callback frees it on every way out.
 */
#include "postgres.h"

#include "frames/compressor.h"
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

static size_t
none_bound(void *state, size_t len)
{
	return 0;
}

/* What was gathered is the frame. */
static const char *
none_whole(void *state, const void *data, size_t len, void *out, size_t room, size_t *out_len)
{
	*out_len = len;
	return NULL;
}

static const CompressorOps compressor_none = {
	.create = none_create,
	.free = none_free,
	.begin = none_begin,
	.add = none_add,
	.end = none_end,
	.whole = none_whole,
	.bound = none_bound,
	.whole_max_level = 0,
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

/* Whether a frame may be gathered first and compressed at once, which is faster. */
bool
compressor_takes_whole(const Compressor *compressor)
{
	return compressor->level <= compressor->ops->whole_max_level;
}

/* Whether a frame is the data as it was gathered. */
bool
compressor_is_none(const Compressor *compressor)
{
	return compressor->ops == &compressor_none;
}

/* The most that so many bytes can become. */
size_t
compressor_bound(const Compressor *compressor, size_t len)
{
	return compressor->ops->bound(compressor->state, len);
}

/* Compress a whole frame, in place of begin, add and end; see CompressorOps. */
const char *
compressor_whole(const Compressor *compressor, const void *data, size_t len, void *out, size_t room,
				 size_t *out_len)
{
	return compressor->ops->whole(compressor->state, data, len, out, room, out_len);
}

/* Raise a library's own words. */
void
compressor_failed(const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compress data: %s", reason)));
}
