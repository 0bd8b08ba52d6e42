/*
 * overlap_join.c
 *	  Finds the rows that differ between two sides, by the text of their keys.
 *
 * Each side's answer is an array literal of each key column, and then one of
 * digests, a line each; what can stand in a key may hold newlines as well. SQL
 * would take the arrays apart into values, join those, and make them text again.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(steep_repl_overlap_join);

typedef struct Slice
{
	const char *text;
	int len;
} Slice;

typedef struct Side
{
	int n;
	Slice **keys; /* of each key column, n */
	int64 *digests;
	bool *is_joined;
} Side;

typedef struct RowRef
{
	const Side *side;
	int row;
} RowRef;

static uint32 hash_row(RowRef ref);
static bool rows_match(RowRef a, RowRef b);

typedef struct RowEntry
{
	RowRef key;
	uint32 hash;
	char status;
} RowEntry;

#define SH_PREFIX rows
#define SH_ELEMENT_TYPE RowEntry
#define SH_KEY_TYPE RowRef
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_row(key)
#define SH_EQUAL(table, a, b) rows_match(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Of the call that runs. */
static int n_keys;

static uint32
hash_row(RowRef ref)
{
	uint32 hash = 0;

	for (int i = 0; i < n_keys; i++)
	{
		const Slice *key = &ref.side->keys[i][ref.row];

		hash = hash_combine(hash, hash_bytes((const unsigned char *) key->text, key->len));
	}
	return hash;
}

static bool
rows_match(RowRef a, RowRef b)
{
	for (int i = 0; i < n_keys; i++)
	{
		const Slice *left = &a.side->keys[i][a.row];
		const Slice *right = &b.side->keys[i][b.row];

		if (left->len != right->len || memcmp(left->text, right->text, left->len) != 0)
			return false;
	}
	return true;
}

pg_noreturn static void
refuse(void)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("rows were not read as a comparison reads them")));
}

/* An element of an array literal, which is made plain where it is. */
static Slice
read_element(char **at)
{
	char *from = *at;
	char *to = from;
	Slice result = {from, 0};

	if (*from != '"')
	{
		from += strcspn(from, ",}");
		result.len = (int) (from - *at);
		*at = from;
		if (result.len == 4 && strncmp(result.text, "NULL", 4) == 0)
			refuse();
		return result;
	}
	for (from++; *from != '"'; from++)
	{
		from += *from == '\\';
		if (*from == '\0')
			refuse();
		*to++ = *from;
	}
	result.len = (int) (to - result.text);
	*at = from + 1;
	return result;
}

/* An array literal that a line begins with; how many elements it has. */
static int
read_array(char **at, Slice **elements)
{
	int room = 16;
	int n = 0;

	*elements = palloc(room * sizeof(Slice));
	if (*(*at)++ != '{')
		refuse();
	while (**at != '}')
	{
		if (n == room)
			*elements = repalloc(*elements, (room *= 2) * sizeof(Slice));
		CHECK_FOR_INTERRUPTS();
		(*elements)[n++] = read_element(at);
		if (**at != ',' && **at != '}')
			refuse();
		*at += **at == ',';
	}
	++*at;
	*at += **at == '\n';
	return n;
}

static Side
read_side(text *answer)
{
	Side side = {0};
	char *at = text_to_cstring(answer);
	Slice *digests;

	if (!pg_verifymbstr(at, (int) strlen(at), true))
		refuse();
	side.keys = palloc(n_keys * sizeof(Slice *));
	for (int i = 0; i < n_keys; i++)
	{
		int n = read_array(&at, &side.keys[i]);

		if (i > 0 && n != side.n)
			refuse();
		side.n = n;
	}
	if (read_array(&at, &digests) != side.n || *at != '\0')
		refuse();
	side.digests = palloc(side.n * sizeof(int64));
	side.is_joined = palloc0(side.n);
	for (int i = 0; i < side.n; i++)
		side.digests[i] = strtoi64(digests[i].text, NULL, 10);
	return side;
}

static Datum
key_of(RowRef ref)
{
	Datum *key = palloc(n_keys * sizeof(Datum));

	for (int i = 0; i < n_keys; i++)
	{
		const Slice *slice = &ref.side->keys[i][ref.row];

		key[i] = PointerGetDatum(cstring_to_text_with_len(slice->text, slice->len));
	}
	return PointerGetDatum(construct_array_builtin(key, n_keys, TEXTOID));
}

/* Add a row that differs; NULL where a side has none. */
static void
add_difference(ReturnSetInfo *result, const char *category, RowRef ref, const int64 *here,
			   const int64 *there)
{
	Datum values[] = {CStringGetTextDatum(category), key_of(ref), Int64GetDatum(here ? *here : 0),
					  Int64GetDatum(there ? *there : 0)};
	bool nulls[] = {false, false, here == NULL, there == NULL};

	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

pg_noreturn static void
refuse_double(RowRef ref)
{
	ereport(ERROR, (errcode(ERRCODE_UNIQUE_VIOLATION),
					errmsg("rows with the same key were written while the table was compared"),
					errdetail("Key: %s.", OidOutputFunctionCall(F_ARRAY_OUT, key_of(ref))),
					errhint("Make the key unique, or name another in primary_keys.")));
}

static rows_hash *
index_rows(const Side *side)
{
	rows_hash *index = rows_create(CurrentMemoryContext, side->n, NULL);

	for (int i = 0; i < side->n; i++)
	{
		bool found;

		CHECK_FOR_INTERRUPTS();
		rows_insert(index, (RowRef){side, i}, &found);
		if (found)
			refuse_double((RowRef){side, i});
	}
	return index;
}

/* steep_repl._overlap_join(here, there, n_keys): the rows that differ; NULL is an answer without rows. */
Datum
steep_repl_overlap_join(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Side here = {0};
	Side there = {0};
	rows_hash *index;

	InitMaterializedSRF(fcinfo, 0);
	n_keys = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	if (n_keys < 1 || n_keys > MaxHeapAttributeNumber)
		refuse();
	if (!PG_ARGISNULL(0))
		here = read_side(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(1))
		there = read_side(PG_GETARG_TEXT_PP(1));
	index = index_rows(&here);
	for (int i = 0; i < there.n; i++)
	{
		RowRef ref = {&there, i};
		RowEntry *found = rows_lookup(index, ref);

		CHECK_FOR_INTERRUPTS();
		if (found == NULL)
		{
			add_difference(result, "remote_only", ref, NULL, &there.digests[i]);
			continue;
		}
		if (here.is_joined[found->key.row])
			refuse_double(ref);
		here.is_joined[found->key.row] = true;
		if (here.digests[found->key.row] != there.digests[i])
			add_difference(result, "conflict", ref, &here.digests[found->key.row],
						   &there.digests[i]);
	}
	for (int i = 0; i < here.n; i++)
		if (!here.is_joined[i])
			add_difference(result, "local_only", (RowRef){&here, i}, &here.digests[i], NULL);
	return (Datum) 0;
}
