/*
 * manifest_fields.h
 *	  The members of the manifest's objects.
 */
#ifndef STEEP_MANIFEST_FIELDS_H
#define STEEP_MANIFEST_FIELDS_H

#include "postgres.h"

#include "common/jsonapi.h"

typedef enum FieldType
{
	FIELD_COUNT, /* uint64 */
	FIELD_TEXT,  /* char * */
	FIELD_TEXT_OR_NULL,
	FIELD_DIGEST /* uint8[DIGEST_BYTES] */
} FieldType;

typedef struct Field
{
	const char *key;
	FieldType type;
	size_t offset; /* in the struct that the object becomes */
	bool required;
} Field;

/* Each ends with an entry whose key is NULL. */
extern const Field manifest_fields[];
extern const Field manifest_file_fields[];
extern const Field manifest_frame_fields[];

extern bool manifest_store(const Field *field, void *target, char *token, JsonTokenType type);

#endif /* STEEP_MANIFEST_FIELDS_H */
