/*
 * decompressor_zstd.c
 *	  Frames in Zstandard's format.
 */
#include "postgres.h"

#include <zstd.h>
#include <zstd_errors.h>

#include "frames/decompressor.h"

/*
 * A frame says how large a window its decoder must keep.  128 MB is what the
 * highest level, 22, and pg_dump's "long" ask for.
 */
#define ZSTD_WINDOW_LOG_MAX 27

/* Keep what a library result says, if it is an error. */
static void
check(size_t result, FrameError *error)
{
	if (!ZSTD_isError(result))
		return;
	if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation)
		decompressor_out_of_memory(error);
	else
		decompressor_failed(error, ZSTD_getErrorName(result));
}

static void *
zstd_create(FrameError *error)
{
	ZSTD_DCtx *dctx = ZSTD_createDCtx();

	if (dctx == NULL)
		decompressor_out_of_memory(error);
	else
		check(ZSTD_DCtx_setParameter(dctx, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX), error);
	return dctx;
}

static void
zstd_free(void *state)
{
	ZSTD_freeDCtx(state);
}

static void
zstd_begin(void *state, FrameError *error)
{
	check(ZSTD_DCtx_reset(state, ZSTD_reset_session_only), error);
}

static bool
zstd_step(void *state, DecompressorInput *in, DecompressorOutput *out, FrameError *error)
{
	ZSTD_inBuffer source = {in->data, in->len, 0};
	ZSTD_outBuffer target = {out->data, out->len, 0};
	size_t hint = ZSTD_decompressStream(state, &target, &source);

	check(hint, error);
	in->data += source.pos;
	in->len -= source.pos;
	out->data += target.pos;
	out->len -= target.pos;
	return hint > 0;
}

const DecompressorOps decompressor_zstd = {
	.create = zstd_create,
	.free = zstd_free,
	.begin = zstd_begin,
	.step = zstd_step,
};
