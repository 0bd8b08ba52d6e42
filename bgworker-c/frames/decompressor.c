/*
 * decompressor.c
 *	  Streaming decompression of frames that follow one another.
 *
 * The input is not trusted: memory is bounded by the libraries' windows,
 * whatever a frame claims of itself, and what does not decode is an error.
 * How much may come out is for the caller to bound.
 *
 * Like a compressor, one of these serves all frames of a worker, and a
 * memory-context callback frees the library's context on every way out.
 * Reading may happen in a thread, so what it finds wrong is not raised.
 */
#include "postgres.h"

#include "frames/decompressor.h"

#define INPUT_BYTES ((size_t) 128 * 1024)

struct Decompressor
{
	const DecompressorOps *ops;
	void *state; /* of the library, in malloc'ed memory */
	MemoryContextCallback release;
	DecompressorSource source;
	void *source_arg;
	bool source_ended;
	bool in_frame;
	DecompressorInput input; /* what is left in the buffer */
	char buffer[INPUT_BYTES];
};

static void *
none_create(FrameError *error)
{
	return NULL;
}

static void
none_free(void *state)
{
}

static void
none_begin(void *state, FrameError *error)
{
}

static bool
none_step(void *state, DecompressorInput *in, DecompressorOutput *out, FrameError *error)
{
	size_t len = Min(in->len, out->len);

	memcpy(out->data, in->data, len);
	in->data += len;
	in->len -= len;
	out->data += len;
	out->len -= len;
	return false;
}

static const DecompressorOps decompressor_none = {
	.create = none_create,
	.free = none_free,
	.begin = none_begin,
	.step = none_step,
};

static const DecompressorOps *const implementations[] = {
	[CODEC_NONE] = &decompressor_none,
	[CODEC_GZIP] = &decompressor_gzip,
	[CODEC_LZ4] = &decompressor_lz4,
	[CODEC_ZSTD] = &decompressor_zstd,
};

/* Free the library's context with the memory context that held us. */
static void
release_state(void *arg)
{
	Decompressor *decompressor = arg;

	decompressor->ops->free(decompressor->state);
}

/* A decompressor that lives as long as CurrentMemoryContext. */
Decompressor *
decompressor_create(Codec codec)
{
	Decompressor *decompressor = palloc0_object(Decompressor);
	FrameError error = {0};

	decompressor->ops = implementations[codec];
	decompressor->state = decompressor->ops->create(&error);
	if (error.kind != FRAME_SOUND)
		frame_error_raise(&error, "");
	decompressor->release.func = release_state;
	decompressor->release.arg = decompressor;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &decompressor->release);
	return decompressor;
}

/* Start on a frame, or several in sequence, forgetting one that was not ended. */
void
decompressor_begin(Decompressor *decompressor, DecompressorSource source, void *arg)
{
	FrameError error = {0};

	decompressor->ops->begin(decompressor->state, &error);
	if (error.kind != FRAME_SOUND)
		frame_error_raise(&error, "");
	decompressor->source = source;
	decompressor->source_arg = arg;
	decompressor->source_ended = false;
	decompressor->in_frame = false;
	decompressor->input.len = 0;
}

/* Get input where there is none. */
static void
refill(Decompressor *decompressor, FrameError *error)
{
	if (decompressor->input.len > 0 || decompressor->source_ended)
		return;
	decompressor->input.data = decompressor->buffer;
	decompressor->input.len =
		decompressor->source(decompressor->source_arg, decompressor->buffer, INPUT_BYTES, error);
	Assert(decompressor->input.len <= INPUT_BYTES);
	decompressor->source_ended = decompressor->input.len == 0;
}

/* Decompress up to so many bytes in one call of the library. */
static size_t
step(Decompressor *decompressor, char *out, size_t len, FrameError *error)
{
	DecompressorOutput piece = {out, len};

	decompressor->in_frame =
		decompressor->ops->step(decompressor->state, &decompressor->input, &piece, error);
	return piece.data - out;
}

/*
 * Fill out; fewer bytes than len come only at the end of the input, or with an
 * error.  Checksums stand at the end of a frame, so only that short read tells
 * that the last frame was sound.
 */
size_t
decompressor_read(Decompressor *decompressor, void *out, size_t len, FrameError *error)
{
	size_t done = 0;

	while (done < len && error->kind == FRAME_SOUND)
	{
		size_t delivered;

		refill(decompressor, error);
		if (error->kind != FRAME_SOUND || (decompressor->source_ended && !decompressor->in_frame))
			break;
		delivered = step(decompressor, (char *) out + done, len - done, error);
		/* without input a library may still have output to hand over */
		if (error->kind == FRAME_SOUND && decompressor->source_ended && decompressor->in_frame &&
			delivered == 0)
			error->kind = FRAME_UNENDED;
		done += delivered;
	}
	return done;
}

/* Keep a library's own words. */
void
decompressor_failed(FrameError *error, const char *reason)
{
	error->kind = FRAME_DAMAGED;
	error->reason = reason;
}

/* Keep a library's failure that is not the data's fault. */
void
decompressor_out_of_memory(FrameError *error)
{
	error->kind = FRAME_NO_MEMORY;
}
