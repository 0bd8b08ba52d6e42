/*
 * manifest_fields.c
 *	  The members of the manifest's objects.
 */
#include "postgres.h"

#include "base/compat.h"
#include "files/manifest_fields.h"
#include "files/manifest_read.h"

#define END_OF_FIELDS               \
	{                               \
		NULL, FIELD_COUNT, 0, false \
	}

const Field manifest_fields[] = {
	{"format_version", FIELD_COUNT, offsetof(Manifest, format_version), true},
	{"snapshot_id", FIELD_TEXT, offsetof(Manifest, snapshot_id), true},
	{"node_id", FIELD_TEXT_OR_NULL, offsetof(Manifest, node_id), false},
	{"creator", FIELD_TEXT, offsetof(Manifest, creator), true},
	{"creator_oid", FIELD_COUNT, offsetof(Manifest, creator_oid), false},
	{"system_identifier", FIELD_TEXT, offsetof(Manifest, system_identifier), true},
	{"database", FIELD_TEXT, offsetof(Manifest, database), true},
	{"lsn", FIELD_TEXT, offsetof(Manifest, lsn), true},
	{"slot_name", FIELD_TEXT_OR_NULL, offsetof(Manifest, slot_name), false},
	{"pg_version", FIELD_TEXT, offsetof(Manifest, pg_version), true},
	{"extension_version", FIELD_TEXT, offsetof(Manifest, extension_version), true},
	{"encoding", FIELD_TEXT, offsetof(Manifest, encoding), true},
	{"compression", FIELD_TEXT, offsetof(Manifest, compression), true},
	{"created_at", FIELD_TEXT, offsetof(Manifest, created_at), true},
	{"tables", FIELD_COUNT, offsetof(Manifest, tables), true},
	{"rows", FIELD_COUNT, offsetof(Manifest, rows), true},
	{"raw_bytes", FIELD_COUNT, offsetof(Manifest, raw_bytes), true},
	{"stored_bytes", FIELD_COUNT, offsetof(Manifest, stored_bytes), true},
	END_OF_FIELDS};

const Field manifest_file_fields[] = {
	{"name", FIELD_TEXT, offsetof(ManifestFile, name), true},
	{"kind", FIELD_TEXT, offsetof(ManifestFile, kind), true},
	{"schema", FIELD_TEXT_OR_NULL, offsetof(ManifestFile, schema), false},
	{"table", FIELD_TEXT_OR_NULL, offsetof(ManifestFile, table), false},
	{"rows", FIELD_COUNT, offsetof(ManifestFile, rows), false},
	{"raw_bytes", FIELD_COUNT, offsetof(ManifestFile, raw_bytes), false},
	{"stored_bytes", FIELD_COUNT, offsetof(ManifestFile, stored_bytes), true},
	{"sha256", FIELD_DIGEST, offsetof(ManifestFile, sha256), false},
	END_OF_FIELDS};

const Field manifest_frame_fields[] = {
	{"offset", FIELD_COUNT, offsetof(ManifestFrame, offset), true},
	{"rows", FIELD_COUNT, offsetof(ManifestFrame, rows), true},
	{"raw_bytes", FIELD_COUNT, offsetof(ManifestFrame, raw_bytes), true},
	{"stored_bytes", FIELD_COUNT, offsetof(ManifestFrame, stored_bytes), true},
	{"sha256", FIELD_DIGEST, offsetof(ManifestFrame, sha256), true},
	END_OF_FIELDS};

/* A count: digits alone, without sign, point or exponent. */
static bool
parse_count(const char *token, JsonTokenType type, uint64 *count)
{
	char *end;

	if (type != JSON_TOKEN_NUMBER || !isdigit((unsigned char) token[0]))
		return false;
	errno = 0;
	*count = strtou64(token, &end, 10);
	return errno == 0 && *end == '\0' && *count <= PG_INT64_MAX;
}

/* Store a value in its struct; false if it is not of the field's type. */
bool
manifest_store(const Field *field, void *target, char *token, JsonTokenType type)
{
	void *place = (char *) target + field->offset;

	switch (field->type)
	{
		case FIELD_COUNT:
			return parse_count(token, type, place);
		case FIELD_DIGEST:
			return type == JSON_TOKEN_STRING && digest_from_hex(token, strlen(token), place);
		case FIELD_TEXT_OR_NULL:
			if (type == JSON_TOKEN_NULL)
				return true;
			pg_fallthrough;
		case FIELD_TEXT:
			*(char **) place = token;
			return type == JSON_TOKEN_STRING;
	}
	return false;
}
