/*
 * digest.c
 *	  SHA-256 through the server's own implementation.
 *
 * Contexts belong to a resource owner. That of a transaction frees them at its
 * end, so one that is kept belongs to an owner which lives as long as the process.
 */
#include "postgres.h"

#include "base/digest.h"
#include "utils/resowner.h"

static ResourceOwner
process_owner(void)
{
	static ResourceOwner owner = NULL;

	if (owner == NULL)
		owner = ResourceOwnerCreate(NULL, "steep_repl digests");
	return owner;
}

/* Raise what the hash context complains of. */
void
digest_fail(pg_cryptohash_ctx *ctx)
{
	const char *reason = pg_cryptohash_error(ctx);

	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute SHA-256: %s", reason)));
}

/* A context in the current owner, or, in a worker between transactions, in ours. */
static pg_cryptohash_ctx *
make_context(void)
{
	ResourceOwner previous = CurrentResourceOwner;
	pg_cryptohash_ctx *ctx;

	if (previous == NULL)
		CurrentResourceOwner = process_owner();
	ctx = pg_cryptohash_create(PG_SHA256);
	CurrentResourceOwner = previous;
	if (ctx == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return ctx;
}

/* Make a context that is used for one digest after the other; see digest_restart(). */
pg_cryptohash_ctx *
digest_create(void)
{
	ResourceOwner previous = CurrentResourceOwner;
	pg_cryptohash_ctx *ctx;

	CurrentResourceOwner = process_owner();
	ctx = make_context();
	CurrentResourceOwner = previous;
	return ctx;
}

/* Start the next digest in a context that is kept. */
void
digest_restart(pg_cryptohash_ctx *ctx)
{
	if (pg_cryptohash_init(ctx) < 0)
		digest_fail(ctx);
}

/* Start a digest; digest_end() frees it. */
pg_cryptohash_ctx *
digest_begin(void)
{
	pg_cryptohash_ctx *ctx = make_context();

	digest_restart(ctx);
	return ctx;
}

/* Add bytes to a digest. */
void
digest_add(pg_cryptohash_ctx *ctx, const void *data, size_t len)
{
	if (pg_cryptohash_update(ctx, data, len) < 0)
		digest_fail(ctx);
}

/* Finish a digest and free its context. */
void
digest_end(pg_cryptohash_ctx *ctx, uint8 digest[DIGEST_BYTES])
{
	if (pg_cryptohash_final(ctx, digest, DIGEST_BYTES) < 0)
		digest_fail(ctx);
	pg_cryptohash_free(ctx);
}

/* The digest of one piece of memory. */
void
digest_bytes(const void *data, size_t len, uint8 digest[DIGEST_BYTES])
{
	pg_cryptohash_ctx *ctx = digest_begin();

	digest_add(ctx, data, len);
	digest_end(ctx, digest);
}

/* A digest as the manifest spells it. */
void
digest_to_hex(const uint8 digest[DIGEST_BYTES], char hex[DIGEST_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < DIGEST_BYTES; i++)
	{
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 0x0F];
	}
	hex[2 * DIGEST_BYTES] = '\0';
}

/* A hex digit's value; lower case only, so that a digest has one spelling. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Read a digest; false if the text is not exactly one digest in hex. */
bool
digest_from_hex(const char *hex, size_t len, uint8 digest[DIGEST_BYTES])
{
	if (len != 2 * DIGEST_BYTES)
		return false;
	for (int i = 0; i < DIGEST_BYTES; i++)
	{
		int high = hex_value(hex[2 * i]);
		int low = hex_value(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		digest[i] = (uint8) (high << 4 | low);
	}
	return true;
}
