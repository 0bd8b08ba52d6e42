/*
 * row_digest.c
 *	  A digest of a row, the same for equal rows.
 *
 * hash_record_extended calls a hash function for each value, and most types'
 * do not tell all values apart, so that comparing databases by SQL alone has to
 * turn values into binary or text form first. Where both sides have this
 * function, a table is read with it: in the time that a scan takes.
 *
 * Values are digested by their bytes. Of types that have equal values of other
 * bytes, such as 1.0 and 1.00, what their equality looks at is digested.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn_unstable.h"
#include "fmgr.h"
#include "jobs/rows_progress.h"
#include "text/jsonb_children.h"
#include "miscadmin.h"
#include "text/numeric_parts.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "varatt.h"

PG_FUNCTION_INFO_V1(steep_repl_row_digest);

#define SEED UINT64CONST(0x736565707265706c)

typedef struct ValueLayout ValueLayout;

/* The digest so far goes in as the seed, so that the order of values counts. */
typedef uint64 (*ValueDigest)(uint64 digest, Datum value, const ValueLayout *layout);

struct ValueLayout
{
	ValueDigest digest;
	int16 len;
	bool by_value;
};

/* What is above the bytes of a value is not always its sign: compiled expressions have left zeros there. */
static int64
whole_value(Datum value, int16 len)
{
	switch (len)
	{
		case sizeof(char):
			return (int64) DatumGetChar(value);
		case sizeof(int16):
			return (int64) DatumGetInt16(value);
		case sizeof(int32):
			return (int64) DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

static uint64
digest_stored_bytes(uint64 digest, Datum value, const ValueLayout *layout)
{
	struct varlena *packed;

	if (layout->by_value)
	{
		int64 whole = whole_value(value, layout->len);

		return fasthash64((const char *) &whole, sizeof(whole), digest);
	}
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

/* 0 and -0 are equal, and so are all that are not a number. */
static uint64
digest_double(uint64 digest, double number)
{
	uint64 bits = 0;

	if (isnan(number))
		bits = UINT64_MAX;
	else if (number != 0)
		memcpy(&bits, &number, sizeof(bits));
	return fasthash64((const char *) &bits, sizeof(bits), digest);
}

static uint64
digest_float4(uint64 digest, Datum value, const ValueLayout *layout)
{
	return digest_double(digest, DatumGetFloat4(value));
}

static uint64
digest_float8(uint64 digest, Datum value, const ValueLayout *layout)
{
	return digest_double(digest, DatumGetFloat8(value));
}

/* The number without its scale, by which also depends how it is stored. */
static uint64
digest_stored_numeric(uint64 digest, const char *data, size_t len)
{
	NumericParts parts;
	int32 head[2];

	if (!numeric_take_apart(data, len, &parts))
		return fasthash64(data, sizeof(uint16), digest);
	head[0] = parts.is_negative;
	head[1] = parts.n_groups == 0 ? 0 : parts.weight;
	digest = fasthash64((const char *) head, sizeof(head), digest);
	return fasthash64(parts.groups, parts.n_groups * sizeof(uint16), digest);
}

static uint64
digest_numeric(uint64 digest, Datum value, const ValueLayout *layout)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);

	digest = digest_stored_numeric(digest, VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return digest;
}

/* A month has 30 days, and a day 24 hours. */
static uint64
digest_interval(uint64 digest, Datum value, const ValueLayout *layout)
{
	const Interval *interval = DatumGetIntervalP(value);
	int128 days = (int128) interval->month * DAYS_PER_MONTH + interval->day;
	int128 span = days * USECS_PER_DAY + interval->time;

	return fasthash64((const char *) &span, sizeof(span), digest);
}

/* Without the blanks at its end. */
static uint64
digest_bpchar(uint64 digest, Datum value, const ValueLayout *layout)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
	const char *text = VARDATA_ANY(packed);
	size_t len = VARSIZE_ANY_EXHDR(packed);

	while (len > 0 && text[len - 1] == ' ')
		len--;
	digest = fasthash64(text, len, digest);
	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);
	return digest;
}

/* What kind of container it is and of which length, and then its children. */
static uint64
digest_container(uint64 digest, JsonbContainer *container)
{
	uint32 n = JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1);
	JsonbChildren children = jsonb_children(container, 0, n);

	check_stack_depth();
	digest = fasthash64((const char *) &container->header, sizeof(container->header), digest);
	for (uint32 i = 0; i < n; i++)
	{
		JsonbChild child = jsonb_next_child(&children);
		JEntry type = child.entry & JENTRY_TYPEMASK;

		digest = fasthash64((const char *) &type, sizeof(type), digest);
		if (JBE_ISSTRING(child.entry))
			digest = fasthash64(child.data, child.len, digest);
		else if (JBE_ISNUMERIC(child.entry))
			digest = digest_stored_numeric(digest, VARDATA_ANY(child.aligned),
										   VARSIZE_ANY_EXHDR(child.aligned));
		else if (JBE_ISCONTAINER(child.entry))
			digest = digest_container(digest, (JsonbContainer *) child.aligned);
	}
	return digest;
}

static uint64
digest_jsonb(uint64 digest, Datum value, const ValueLayout *layout)
{
	Jsonb *jsonb = DatumGetJsonbP(value);

	digest = digest_container(digest, &jsonb->root);
	if ((Pointer) jsonb != DatumGetPointer(value))
		pfree(jsonb);
	return digest;
}

static ValueDigest
digest_of(Oid type)
{
	switch (getBaseType(type))
	{
		case FLOAT4OID:
			return digest_float4;
		case FLOAT8OID:
			return digest_float8;
		case NUMERICOID:
			return digest_numeric;
		case INTERVALOID:
			return digest_interval;
		case BPCHAROID:
			return digest_bpchar;
		case JSONBOID:
			return digest_jsonb;
		default:
			return digest_stored_bytes;
	}
}

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
	{
		Oid type = get_fn_expr_argtype(flinfo, i);

		layout[i].digest = digest_of(type);
		get_typlenbyval(type, &layout[i].len, &layout[i].by_value);
	}
	flinfo->fn_extra = layout;
	return layout;
}

Datum
steep_repl_row_digest(PG_FUNCTION_ARGS)
{
	const ValueLayout *layout = layouts(fcinfo);
	uint64 digest = SEED;

	rows_progress_count();
	for (int i = 0; i < PG_NARGS(); i++)
		digest = PG_ARGISNULL(i) ? fasthash64("", 0, ~digest)
								 : layout[i].digest(digest, PG_GETARG_DATUM(i), &layout[i]);
	PG_RETURN_INT64((int64) digest);
}
