/*
 * row_digest.c
 *	  A digest of a row by the bytes of its values.
 *
 * hash_record_extended calls a hash function for each value, and most types'
 * do not tell all values apart, so that comparing databases by SQL alone has to
 * turn values into binary or text form first. Where both sides have this
 * function, a table is read with it: in the time that a scan takes.
 */
#include "postgres.h"

#include "common/hashfn_unstable.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "varatt.h"

PG_FUNCTION_INFO_V1(steep_repl_row_digest);

#define SEED UINT64CONST(0x736565707265706c)

typedef struct ValueLayout
{
	int16 len;
	bool by_value;
} ValueLayout;

/* How the arguments are stored, found once a query. */
static const ValueLayout *
layouts(FunctionCallInfo fcinfo)
{
	FmgrInfo *flinfo = fcinfo->flinfo;
	ValueLayout *layout = flinfo->fn_extra;

	if (layout != NULL)
		return layout;
	layout = MemoryContextAlloc(flinfo->fn_mcxt, Max(PG_NARGS(), 1) * sizeof(ValueLayout));
	for (int i = 0; i < PG_NARGS(); i++)
		get_typlenbyval(get_fn_expr_argtype(flinfo, i), &layout[i].len, &layout[i].by_value);
	flinfo->fn_extra = layout;
	return layout;
}

/* The digest goes on as the seed of the next value's, so that their order counts. */
static uint64
digest_value(uint64 digest, Datum value, const ValueLayout *layout)
{
	struct varlena *packed;

	if (layout->by_value)
		return fasthash64((const char *) &value, sizeof(value), digest);
	if (layout->len > 0)
		return fasthash64(DatumGetPointer(value), layout->len, digest);
	if (layout->len == -2)
		return fasthash64(DatumGetCString(value), strlen(DatumGetCString(value)), digest);
	packed = PG_DETOAST_DATUM_PACKED(value);
	digest = fasthash64(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed), digest);
	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return digest;
}

Datum
steep_repl_row_digest(PG_FUNCTION_ARGS)
{
	const ValueLayout *layout = layouts(fcinfo);
	uint64 digest = SEED;

	for (int i = 0; i < PG_NARGS(); i++)
		digest = PG_ARGISNULL(i) ? fasthash64("", 0, ~digest)
								 : digest_value(digest, PG_GETARG_DATUM(i), &layout[i]);
	PG_RETURN_INT64((int64) digest);
}
