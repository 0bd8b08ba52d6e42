/*
 * image_read.h
 *	  Images of rows: JSON objects of column name to the type's own text output.
 */
#ifndef STEEP_IMAGE_READ_H
#define STEEP_IMAGE_READ_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct ImageField
{
	const char *name;
	int name_len;
	char *value; /* that a zero ends; NULL for NULL */
	size_t len;
} ImageField;

/* Reads one image after the other, all of the same columns. */
typedef struct ImageReader ImageReader;

extern ImageReader *image_reader_create(void);
extern char *image_read(ImageReader *reader, char *text);
extern ImageField *image_fields(ImageReader *reader);
extern const ImageField *image_field(ImageReader *reader, const char *name);
extern bool image_shape_is_new(const ImageReader *reader);
extern JsonbValue image_string(const char *text, size_t len);
extern Jsonb *image_to_jsonb(ImageReader *reader);

#endif /* STEEP_IMAGE_READ_H */
