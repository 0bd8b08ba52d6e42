/*
 * decompressor.h
 *	  Streaming decompression of frames that follow one another.
 */
#ifndef STEEP_DECOMPRESSOR_H
#define STEEP_DECOMPRESSOR_H

#include "postgres.h"

#include "base/codec.h"
#include "frames/frame_error.h"

/* Delivers compressed bytes, at most len of them; 0 at their end, or with an error. */
typedef size_t (*DecompressorSource)(void *arg, void *buf, size_t len, FrameError *error);

typedef struct DecompressorInput
{
	const char *data;
	size_t len;
} DecompressorInput;

typedef struct DecompressorOutput
{
	char *data;
	size_t len; /* room that is left */
} DecompressorOutput;

typedef struct DecompressorOps
{
	void *(*create)(FrameError *error);
	void (*free)(void *state);
	void (*begin)(void *state, FrameError *error);

	/*
	 * Turn input into output, moving both on; input or room may be used up, or
	 * a frame may end.  True inside a frame: more of it must come.
	 */
	bool (*step)(void *state, DecompressorInput *in, DecompressorOutput *out, FrameError *error);
} DecompressorOps;

typedef struct Decompressor Decompressor;

extern const DecompressorOps decompressor_gzip;
extern const DecompressorOps decompressor_lz4;
extern const DecompressorOps decompressor_zstd;

extern Decompressor *decompressor_create(Codec codec);
extern void decompressor_begin(Decompressor *decompressor, DecompressorSource source, void *arg);
extern size_t
decompressor_read(Decompressor *decompressor, void *out, size_t len, FrameError *error);

/* for the implementations */
extern void decompressor_failed(FrameError *error, const char *reason);
extern void decompressor_out_of_memory(FrameError *error);

#endif /* STEEP_DECOMPRESSOR_H */
