/*
 * answer_keys.c
 *	  Whether the images of an answer are of the rows that were asked for.
 *
 * A row is written by the key in its image, and what was compared, locked and
 * written down is the row of its number. So a peer that answers a number with
 * the image of another row would have that one overwritten, unseen.
 */
#include "postgres.h"

#include "merge/answer_read.h"
#include "merge/image_read.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_merge_other_keys);

/* The rows that were asked for, in the order of their numbers, and the texts of their keys, one row after the other. */
typedef struct Asked
{
	int n;
	Datum *numbers;
	int n_columns;
	char **columns;
	Datum *keys;
	bool *nulls;
} Asked;

static Asked
read_asked(ArrayType *numbers, ArrayType *keys, ArrayType *columns)
{
	Asked asked;
	Datum *names;
	int n_keys;

	deconstruct_array_builtin(numbers, INT4OID, &asked.numbers, NULL, &asked.n);
	deconstruct_array_builtin(keys, TEXTOID, &asked.keys, &asked.nulls, &n_keys);
	deconstruct_array_builtin(columns, TEXTOID, &names, NULL, &asked.n_columns);
	if (asked.n_columns == 0 || n_keys != asked.n * asked.n_columns)
		elog(ERROR, "a batch of a merge has %d rows and %d values of keys", asked.n, n_keys);
	asked.columns = palloc(asked.n_columns * sizeof(char *));
	for (int i = 0; i < asked.n_columns; i++)
		asked.columns[i] = TextDatumGetCString(names[i]);
	return asked;
}

/* Whether the image that was read last has the key of the row, letter by letter. */
static bool
has_key(ImageReader *reader, const Asked *asked, int row)
{
	for (int i = 0; i < asked->n_columns; i++)
	{
		int at = row * asked->n_columns + i;
		const ImageField *field = image_field(reader, asked->columns[i]);
		const text *key = DatumGetTextPP(asked->keys[at]);

		if (asked->nulls[at] || field == NULL || field->value == NULL ||
			field->len != VARSIZE_ANY_EXHDR(key) ||
			memcmp(field->value, VARDATA_ANY(key), field->len) != 0)
			return false;
	}
	return true;
}

/*
 * steep_repl._merge_other_keys(numbers, keys, columns, answer): of the rows of
 * an answer, those whose image has other texts in these columns than the row of
 * that number. They may be other spellings of the same values.
 */
Datum
steep_repl_merge_other_keys(PG_FUNCTION_ARGS)
{
	Asked asked =
		read_asked(PG_GETARG_ARRAYTYPE_P(0), PG_GETARG_ARRAYTYPE_P(1), PG_GETARG_ARRAYTYPE_P(2));
	text *given = PG_GETARG_TEXT_PP(3);
	Answer answer = answer_read(VARDATA_ANY(given), VARSIZE_ANY_EXHDR(given));
	ImageReader *reader = image_reader_create();
	Datum *others = palloc(Max(answer.n, 1) * sizeof(Datum));
	int n_others = 0;
	int at = 0;

	for (int i = 0; i < answer.n; i++)
	{
		AnswerRow *row = &answer.rows[i];

		CHECK_FOR_INTERRUPTS();
		while (at < asked.n && DatumGetInt32(asked.numbers[at]) < row->number)
			at++;
		(void) image_read(reader, row->image);
		if (at == asked.n || DatumGetInt32(asked.numbers[at]) != row->number ||
			!has_key(reader, &asked, at))
			others[n_others++] = Int32GetDatum(row->number);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array_builtin(others, n_others, INT4OID));
}
