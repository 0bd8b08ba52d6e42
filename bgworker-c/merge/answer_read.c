/*
 * answer_read.c
 *	  What reading rows for a merge answers.
 */
#include "merge/answer_read.h"

#include "text/byte_mask.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

/* What comes from a peer, or from the requester's SQL, may be anything. */
pg_noreturn void
answer_refuse(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
					errmsg("a batch of a merge is not what a server answers"),
					errdetail_internal("%s", what)));
}

/* A copy that may be written to and read by vectors, in CurrentMemoryContext. */
char *
images_copy(const char *text, size_t len)
{
	char *copy = palloc_extended(len + MASK_PADDING, MCXT_ALLOC_HUGE);

	memcpy(copy, text, len);
	memset(copy + len, 0, MASK_PADDING);
	if (!pg_verifymbstr(copy, (int) len, true))
		answer_refuse("Its text is not valid in this database's encoding.");
	return copy;
}

/* The end of the line. */
static char *
line_end(char *text)
{
	return text + strcspn(text, "\n");
}

static int
compare_numbers(const void *a, const void *b)
{
	int left = ((const AnswerRow *) a)->number;
	int right = ((const AnswerRow *) b)->number;

	return (left > right) - (left < right);
}

/* The next number of an array such as {1,2}, which `at` stands before; false at its end. */
static bool
next_number(char **at, int64 *number)
{
	char *end;

	if (**at == '}' || (**at == '{' && (*at)[1] == '}'))
		return false;
	if (**at != '{' && **at != ',')
		answer_refuse("It holds what is no array of numbers.");
	errno = 0;
	*number = strtoi64(*at + 1, &end, 10);
	if (errno != 0 || end == *at + 1)
		answer_refuse("It holds what is no number.");
	*at = end;
	return true;
}

/* The next line of an answer. */
static char *
next_line(char *text)
{
	char *end = line_end(text);

	if (*end == '\0')
		answer_refuse("It is cut off.");
	return end + 1;
}

/* Take a copy of an answer apart: a line of numbers, one of digests, and then one for each image. */
Answer
answer_read(const char *answer, size_t len)
{
	char *text = images_copy(answer, len);
	char *digests = next_line(text);
	char *image = line_end(digests);
	Answer result = {0, palloc(((digests - text) / 2 + 1) * sizeof(AnswerRow)), true,
					 image + (*image != '\0')};
	int64 number;

	while (next_number(&text, &number))
	{
		AnswerRow *row = &result.rows[result.n];

		CHECK_FOR_INTERRUPTS();
		if (number < PG_INT32_MIN || number > PG_INT32_MAX ||
			!next_number(&digests, &row->digest) || *image == '\0')
			answer_refuse("Its rows are not whole.");
		row->number = (int) number;
		row->image = image + 1;
		image = line_end(row->image);
		row->len = (int) (image - row->image);
		result.was_sorted = result.was_sorted && (result.n == 0 || row[-1].number < row->number);
		result.n++;
	}
	if (*image != '\0' || next_number(&digests, &number))
		answer_refuse("It has more than its rows.");
	if (!result.was_sorted)
		qsort(result.rows, result.n, sizeof(AnswerRow), compare_numbers);
	return result;
}

/* The row of that number, not before the one at; both are in order. NULL where there is none. */
const AnswerRow *
answer_find(const Answer *answer, int *at, int number)
{
	while (*at < answer->n && answer->rows[*at].number < number)
		++*at;
	return *at < answer->n && answer->rows[*at].number == number ? &answer->rows[*at] : NULL;
}
