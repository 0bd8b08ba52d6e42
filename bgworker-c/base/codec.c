/*
 * codec.c
 *	  Names and levels of the compression methods.
 */
#include "postgres.h"

#include <zstd.h>

#include "codec.h"

typedef struct CodecInfo
{
	const char *name;
	const char *suffix;
} CodecInfo;

static const CodecInfo codecs[] = {
	[CODEC_NONE] = {"none", ""},
	[CODEC_GZIP] = {"gzip", ".gz"},
	[CODEC_LZ4] = {"lz4", ".lz4"},
	[CODEC_ZSTD] = {"zstd", ".zst"},
};

/* The codec of a name; false if there is none. */
bool
codec_from_name(const char *name, Codec *codec)
{
	for (int i = 0; i < (int) lengthof(codecs); i++)
	{
		if (strcmp(codecs[i].name, name) == 0)
		{
			*codec = (Codec) i;
			return true;
		}
	}
	return false;
}

/* The name that users write. */
const char *
codec_name(Codec codec)
{
	return codecs[codec].name;
}

/* What pg_restore expects after the file name that toc.dat holds. */
const char *
codec_suffix(Codec codec)
{
	return codecs[codec].suffix;
}

/*
 * The levels that pg_dump --compress takes, and its defaults.  lz4's 0 is its
 * fast mode; zstd's lowest levels are negative.
 */
void
codec_level_range(Codec codec, int *min, int *max, int *dflt)
{
	switch (codec)
	{
		case CODEC_NONE:
			*min = *max = *dflt = 0;
			break;
		case CODEC_GZIP:
			*min = 1;
			*max = 9;
			*dflt = 6;
			break;
		case CODEC_LZ4:
			*min = 0;
			*max = 12;
			*dflt = 0;
			break;
		case CODEC_ZSTD:
			*min = ZSTD_minCLevel();
			*max = ZSTD_maxCLevel();
			*dflt = ZSTD_CLEVEL_DEFAULT;
			break;
	}
}
