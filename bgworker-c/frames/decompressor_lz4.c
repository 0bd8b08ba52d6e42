/*
 * decompressor_lz4.c
 *	  Frames in LZ4's frame format, whose blocks have at most 4 MB.
 */
#include "postgres.h"

#include <lz4frame.h>

#include "frames/decompressor.h"

/* Keep what a library result says, if it is an error. */
static void
check(size_t result, FrameError *error)
{
	const char *reason;

	if (!LZ4F_isError(result))
		return;
	reason = LZ4F_getErrorName(result); /* the codes are not in the shared library's interface */
	if (strcmp(reason, "ERROR_allocation_failed") == 0)
		decompressor_out_of_memory(error);
	else
		decompressor_failed(error, reason);
}

static void *
lz4_create(FrameError *error)
{
	LZ4F_dctx *dctx = NULL;

	check(LZ4F_createDecompressionContext(&dctx, LZ4F_VERSION), error);
	return dctx;
}

static void
lz4_free(void *state)
{
	LZ4F_freeDecompressionContext(state);
}

static void
lz4_begin(void *state, FrameError *error)
{
	LZ4F_resetDecompressionContext(state);
}

static bool
lz4_step(void *state, DecompressorInput *in, DecompressorOutput *out, FrameError *error)
{
	size_t consumed = in->len;
	size_t delivered = out->len;
	size_t hint = LZ4F_decompress(state, out->data, &delivered, in->data, &consumed, NULL);

	check(hint, error);
	in->data += consumed;
	in->len -= consumed;
	out->data += delivered;
	out->len -= delivered;
	return hint > 0;
}

const DecompressorOps decompressor_lz4 = {
	.create = lz4_create,
	.free = lz4_free,
	.begin = lz4_begin,
	.step = lz4_step,
};
