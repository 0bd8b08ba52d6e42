/*
 * decompressor_lz4.c
 *	  Frames in LZ4's frame format, whose blocks have at most 4 MB.
 */
#include "postgres.h"

#include <lz4frame.h>

#include "decompressor.h"

/* Pass on a library result that is not an error. */
static size_t
check(size_t result)
{
	const char *reason;

	if (!LZ4F_isError(result))
		return result;
	reason = LZ4F_getErrorName(result); /* the codes are not in the shared library's interface */
	if (strcmp(reason, "ERROR_allocation_failed") == 0)
		decompressor_out_of_memory();
	decompressor_failed(reason);
}

static void *
lz4_create(void)
{
	LZ4F_dctx *dctx;

	check(LZ4F_createDecompressionContext(&dctx, LZ4F_VERSION));
	return dctx;
}

static void
lz4_free(void *state)
{
	LZ4F_freeDecompressionContext(state);
}

static void
lz4_begin(void *state)
{
	LZ4F_resetDecompressionContext(state);
}

static bool
lz4_step(void *state, DecompressorInput *in, DecompressorOutput *out)
{
	size_t consumed = in->len;
	size_t delivered = out->len;
	size_t hint = check(LZ4F_decompress(state, out->data, &delivered, in->data, &consumed, NULL));

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
