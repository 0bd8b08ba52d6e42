/*
 * digest.h
 *	  SHA-256 as snapshots use it: raw bytes for frames, hex in the manifest.
 */
#ifndef STEEP_DIGEST_H
#define STEEP_DIGEST_H

#include "postgres.h"

#include "common/cryptohash.h"
#include "common/sha2.h"

#define DIGEST_BYTES PG_SHA256_DIGEST_LENGTH
#define DIGEST_HEX_SIZE (DIGEST_BYTES * 2 + 1)

/* Incremental: begin, add any number of times, end (which frees). */
extern pg_cryptohash_ctx *digest_begin(void);
extern void digest_add(pg_cryptohash_ctx *ctx, const void *data, size_t len);
extern void digest_end(pg_cryptohash_ctx *ctx, uint8 digest[DIGEST_BYTES]);

/* One context for many digests, which lives as long as the process. */
extern pg_cryptohash_ctx *digest_create(void);
extern void digest_restart(pg_cryptohash_ctx *ctx);
pg_noreturn extern void digest_fail(pg_cryptohash_ctx *ctx);

extern void digest_bytes(const void *data, size_t len, uint8 digest[DIGEST_BYTES]);
extern void digest_to_hex(const uint8 digest[DIGEST_BYTES], char hex[DIGEST_HEX_SIZE]);
extern bool digest_from_hex(const char *hex, size_t len, uint8 digest[DIGEST_BYTES]);

#endif /* STEEP_DIGEST_H */
