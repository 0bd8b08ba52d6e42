/*
 * merge_answer.c
 *	  SQL functions on what reading rows for a merge answers.
 */
#include "postgres.h"

#include "merge/answer_read.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_merge_unchanged);
PG_FUNCTION_INFO_V1(steep_repl_merge_images);

/* Digests that rows of a batch had when they were compared; NULL where there was no row. */
typedef struct Digests
{
	Datum *values;
	bool *nulls;
} Digests;

static Answer
answer_of(text *answer)
{
	return answer_read(VARDATA_ANY(answer), VARSIZE_ANY_EXHDR(answer));
}

/* Of type integer. */
static Datum *
numbers_of(ArrayType *array, int *n)
{
	Datum *numbers;

	deconstruct_array_builtin(array, INT4OID, &numbers, NULL, n);
	return numbers;
}

static Digests
digests_of(ArrayType *array, int n)
{
	Digests digests;
	int n_digests;

	deconstruct_array(array, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE, &digests.values,
					  &digests.nulls, &n_digests);
	if (n_digests != n)
		elog(ERROR, "a batch of a merge has %d rows and %d digests", n, n_digests);
	return digests;
}

static bool
is_unchanged(const AnswerRow *row, const Digests *before, int i)
{
	if (row == NULL || before->nulls[i])
		return row == NULL && before->nulls[i];
	return row->digest == DatumGetInt64(before->values[i]);
}

/*
 * steep_repl._merge_unchanged(numbers, local_digests, peer_digests, here, there):
 * the rows of a batch that are on both sides as they were when they were
 * compared; where there is no answer of the peer, on this side.
 */
Datum
steep_repl_merge_unchanged(PG_FUNCTION_ARGS)
{
	bool has_there = !PG_ARGISNULL(4);
	int n;
	Datum *numbers;
	Digests local;
	Digests peer;
	Answer here;
	Answer there = {0};
	int at_here = 0;
	int at_there = 0;
	Datum *unchanged;
	int n_unchanged = 0;

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
							errmsg("rows of a merge are gone from its temporary table")));
	numbers = numbers_of(PG_GETARG_ARRAYTYPE_P(0), &n);
	local = digests_of(PG_GETARG_ARRAYTYPE_P(1), n);
	peer = digests_of(PG_GETARG_ARRAYTYPE_P(2), n);
	here = answer_of(PG_GETARG_TEXT_PP(3));
	if (has_there)
		there = answer_of(PG_GETARG_TEXT_PP(4));
	unchanged = palloc(Max(n, 1) * sizeof(Datum));
	for (int i = 0; i < n; i++)
		if (is_unchanged(answer_find(&here, &at_here, DatumGetInt32(numbers[i])), &local, i) &&
			(!has_there ||
			 is_unchanged(answer_find(&there, &at_there, DatumGetInt32(numbers[i])), &peer, i)))
			unchanged[n_unchanged++] = numbers[i];
	PG_RETURN_ARRAYTYPE_P(construct_array_builtin(unchanged, n_unchanged, INT4OID));
}

/* Whether these are all rows of the answer, and in its order. */
static bool
has_all(const Answer *answer, const Datum *numbers, int n)
{
	if (n != answer->n || !answer->was_sorted)
		return false;
	for (int i = 0; i < n; i++)
		if (DatumGetInt32(numbers[i]) != answer->rows[i].number)
			return false;
	return true;
}

/* steep_repl._merge_images(answer, numbers): images of these rows, a line each, in the order of the numbers. */
Datum
steep_repl_merge_images(PG_FUNCTION_ARGS)
{
	Answer answer = answer_of(PG_GETARG_TEXT_PP(0));
	int n;
	Datum *numbers = numbers_of(PG_GETARG_ARRAYTYPE_P(1), &n);
	int at = 0;
	StringInfoData images;

	if (has_all(&answer, numbers, n))
		PG_RETURN_TEXT_P(cstring_to_text(answer.images));
	initStringInfo(&images);
	for (int i = 0; i < n; i++)
	{
		const AnswerRow *row = answer_find(&answer, &at, DatumGetInt32(numbers[i]));

		if (row == NULL)
			elog(ERROR, "row %d of a merge was not read", DatumGetInt32(numbers[i]));
		if (i > 0)
			appendStringInfoChar(&images, '\n');
		appendBinaryStringInfo(&images, row->image, row->len);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(images.data, images.len));
}
