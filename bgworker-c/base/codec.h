/*
 * codec.h
 *	  The compression methods of a snapshot's data files.
 */
#ifndef STEEP_CODEC_H
#define STEEP_CODEC_H

#include "postgres.h"

/* The values are the algorithm codes in the header of pg_dump's archives. */
typedef enum Codec
{
	CODEC_NONE = 0,
	CODEC_GZIP = 1,
	CODEC_LZ4 = 2,
	CODEC_ZSTD = 3
} Codec;

extern bool codec_from_name(const char *name, Codec *codec);
extern const char *codec_name(Codec codec);
extern const char *codec_suffix(Codec codec);
extern void codec_level_range(Codec codec, int *min, int *max, int *dflt);

#endif /* STEEP_CODEC_H */
