/*
 * image_read.h
 *	  What reading rows for a merge answers: their numbers, their digests, and
 *	  an image of each, a JSON object of the types' own text output.
 */
#ifndef STEEP_IMAGE_READ_H
#define STEEP_IMAGE_READ_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct AnswerRow
{
	int number;
	int64 digest;
	char *image; /* which a newline or a zero ends */
} AnswerRow;

/* The rows of an answer, in the order of their numbers. */
typedef struct Answer
{
	int n;
	AnswerRow *rows;
	const char *images; /* all of them, as they came */
} Answer;

typedef struct ImageField
{
	const char *name;
	int name_len;
	char *value; /* that a zero ends; NULL for NULL */
	size_t len;
} ImageField;

/* Reads one image after the other, all of the same columns. */
typedef struct ImageReader ImageReader;

extern char *images_copy(const char *text, size_t len);
extern Answer answer_read(char *text);
extern ImageReader *image_reader_create(void);
extern char *image_read(ImageReader *reader, char *text);
extern ImageField *image_fields(ImageReader *reader, int *n_fields);
extern const ImageField *image_field(ImageReader *reader, const char *name);
extern bool image_shape_is_new(const ImageReader *reader);
extern Jsonb *image_to_jsonb(ImageReader *reader);

#endif /* STEEP_IMAGE_READ_H */
