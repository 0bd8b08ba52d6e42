/*
 * answer_read.h
 *	  What reading rows for a merge answers: their numbers, their digests, and
 *	  an image of each, a line each.
 */
#ifndef STEEP_ANSWER_READ_H
#define STEEP_ANSWER_READ_H

#include "postgres.h"

typedef struct AnswerRow
{
	int number;
	int64 digest;
	char *image; /* which a newline or a zero ends */
	int len;
} AnswerRow;

/* The rows of an answer, in the order of their numbers. */
typedef struct Answer
{
	int n;
	AnswerRow *rows;
	bool was_sorted;
	const char *images; /* all of them, as they came */
} Answer;

pg_noreturn extern void answer_refuse(const char *what);
extern char *images_copy(const char *text, size_t len);
extern Answer answer_read(const char *answer, size_t len);
extern const AnswerRow *answer_find(const Answer *answer, int *at, int number);

#endif /* STEEP_ANSWER_READ_H */
