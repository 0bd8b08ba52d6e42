/*
 * stand_in_types.c
 *	  Types and tables of the server that our parsers' results are made of:
 *	  enough to read all that a parser says of its input.
 */
#include "sanitize.h"

#include "common/cryptohash.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/resowner.h"

/* ---- numbers and dates */

const int day_tab[2][13] = {
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
	{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
};

int
date2j(int year, int month, int day)
{
	return year * 366 + month * 31 + day;
}

static Numeric
any_numeric(int64 value)
{
	struct varlena *result = palloc(VARHDRSZ + sizeof(uint16) + sizeof(value));

	SET_VARSIZE(result, VARHDRSZ + sizeof(uint16) + sizeof(value));
	memset(VARDATA(result), 0, sizeof(uint16));
	memcpy(VARDATA(result) + sizeof(uint16), &value, sizeof(value));
	return (Numeric) result;
}

Numeric
int64_to_numeric(int64 val)
{
	return any_numeric(val);
}

Numeric
int64_div_fast_to_numeric(int64 val1, int log10val2)
{
	return any_numeric(val1 + log10val2);
}

/* numeric_in, of the text of a number that is too long for an int64 */
Datum
numeric_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);

	look_at(text, strlen(text));
	return NumericGetDatum(any_numeric(0));
}

Datum
DirectFunctionCall3Coll(PGFunction func, Oid collation, Datum arg1, Datum arg2, Datum arg3)
{
	LOCAL_FCINFO(fcinfo, 3);

	InitFunctionCallInfoData(*fcinfo, NULL, 3, collation, NULL, NULL);
	fcinfo->args[0] = (NullableDatum){arg1, false};
	fcinfo->args[1] = (NullableDatum){arg2, false};
	fcinfo->args[2] = (NullableDatum){arg3, false};
	return func(fcinfo);
}

/* ---- jsonb: a walk through all values */

static void
walk(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			look_at(value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			look_at(value->val.numeric, VARSIZE_ANY(value->val.numeric));
			break;
		case jbvArray:
			for (int i = 0; i < value->val.array.nElems; i++)
				walk(&value->val.array.elems[i]);
			break;
		case jbvObject:
			for (int i = 0; i < value->val.object.nPairs; i++)
			{
				walk(&value->val.object.pairs[i].key);
				walk(&value->val.object.pairs[i].value);
			}
			break;
		default:
			break;
	}
}

Jsonb *
JsonbValueToJsonb(JsonbValue *val)
{
	walk(val);
	return palloc0(sizeof(Jsonb));
}

/* ---- hash tables: lists */

struct HTAB
{
	Size key_size;
	Size entry_size;
	int n;
	int room;
	char **entries;
};

HTAB *
hash_create(const char *tabname, long nelem, const HASHCTL *info, int flags)
{
	HTAB *table = palloc0(sizeof(HTAB));

	table->key_size = info->keysize;
	table->entry_size = info->entrysize;
	return table;
}

void *
hash_search(HTAB *hashp, const void *keyPtr, HASHACTION action, bool *foundPtr)
{
	for (int i = 0; i < hashp->n; i++)
		if (memcmp(hashp->entries[i], keyPtr, hashp->key_size) == 0)
			return hashp->entries[i];
	if (action != HASH_ENTER)
		return NULL;
	if (hashp->n == hashp->room)
	{
		hashp->room = Max(16, hashp->room * 2);
		hashp->entries = hashp->entries == NULL
							 ? palloc(hashp->room * sizeof(char *))
							 : repalloc(hashp->entries, hashp->room * sizeof(char *));
	}
	hashp->entries[hashp->n] = palloc0(hashp->entry_size);
	memcpy(hashp->entries[hashp->n], keyPtr, hashp->key_size);
	return hashp->entries[hashp->n++];
}

void
hash_destroy(HTAB *hashp)
{
	for (int i = 0; i < hashp->n; i++)
		pfree(hashp->entries[i]);
	pfree(hashp);
}

ResourceOwner CurrentResourceOwner = NULL;

ResourceOwner
ResourceOwnerCreate(ResourceOwner parent, const char *name)
{
	return NULL;
}

/* ---- digests: a sum, so that a file can be given the right one */

struct pg_cryptohash_ctx
{
	uint8 sum[32];
	size_t at;
};

pg_cryptohash_ctx *
pg_cryptohash_create(pg_cryptohash_type type)
{
	return palloc0(sizeof(pg_cryptohash_ctx));
}

int
pg_cryptohash_init(pg_cryptohash_ctx *ctx)
{
	return 0;
}

int
pg_cryptohash_update(pg_cryptohash_ctx *ctx, const uint8 *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ctx->sum[ctx->at++ % sizeof(ctx->sum)] += data[i];
	return 0;
}

int
pg_cryptohash_final(pg_cryptohash_ctx *ctx, uint8 *dest, size_t len)
{
	memcpy(dest, ctx->sum, Min(len, sizeof(ctx->sum)));
	return 0;
}

void
pg_cryptohash_free(pg_cryptohash_ctx *ctx)
{
	pfree(ctx);
}

const char *
pg_cryptohash_error(pg_cryptohash_ctx *ctx)
{
	return "none";
}
