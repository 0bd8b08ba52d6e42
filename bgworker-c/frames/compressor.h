/*
 * compressor.h
 *	  Streaming compression into memory, one frame after the other.
 */
#ifndef STEEP_COMPRESSOR_H
#define STEEP_COMPRESSOR_H

#include "postgres.h"

#include "base/bytebuffer.h"
#include "base/codec.h"

typedef struct CompressorOps
{
	void *(*create)(int level);
	void (*free)(void *state);
	void (*begin)(void *state, ByteBuffer *out);
	void (*add)(void *state, const void *data, size_t len, ByteBuffer *out);
	void (*end)(void *state, ByteBuffer *out);

	/*
	 * A frame from data that is all there, into room for bound() bytes. Returns
	 * NULL or what went wrong. Runs in any thread, so it uses nothing of the
	 * server.
	 */
	const char *(*whole)(void *state, const void *data, size_t len, void *out, size_t room,
						 size_t *out_len);
	size_t (*bound)(void *state, size_t len);
	int whole_max_level; /* slower levels could not be cancelled */
} CompressorOps;

typedef struct Compressor
{
	const CompressorOps *ops;
	int level;
	void *state; /* of the library, in malloc'ed memory */
	MemoryContextCallback release;
} Compressor;

extern const CompressorOps compressor_gzip;
extern const CompressorOps compressor_lz4;
extern const CompressorOps compressor_zstd;

extern Compressor *compressor_create(Codec codec, int level);
extern void compressor_begin(Compressor *compressor, ByteBuffer *out);
extern void compressor_add(Compressor *compressor, const void *data, size_t len, ByteBuffer *out);
extern void compressor_end(Compressor *compressor, ByteBuffer *out);
extern bool compressor_takes_whole(const Compressor *compressor);
extern bool compressor_is_none(const Compressor *compressor);
extern size_t compressor_bound(const Compressor *compressor, size_t len);
extern const char *compressor_whole(const Compressor *compressor, const void *data, size_t len,
									void *out, size_t room, size_t *out_len);

/* for the implementations */
pg_noreturn extern void compressor_failed(const char *reason);

#endif /* STEEP_COMPRESSOR_H */
