/*
 * manifest_parse.c
 *	  The manifest's JSON as structs.
 *
 * Parsed as a stream: a manifest of a large database has a million frames,
 * and a tree of its JSON would take many times the memory of the structs.
 */
#include "postgres.h"

#include "common/jsonapi.h"
#include "files/manifest_fields.h"
#include "files/manifest_read.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* Deeper nesting than the format's own is skipped, but not without a limit. */
#define MAX_DEPTH 12

/* An object or array of the JSON text that is being read. */
typedef struct Level
{
	const Field *fields; /* of an object that we keep, else NULL */
	void *target;
	uint32 seen;       /* which of the fields */
	bool holds_files;  /* the array "files" */
	bool holds_frames; /* an array "frames" */
	char *key;         /* of the member at hand */
} Level;

typedef struct ParseState
{
	Manifest *manifest;
	Level levels[MAX_DEPTH];
	int depth;
	int files_capacity;
	int frames_capacity; /* of the last file */
	bool saw_files;
	const char *problem;
} ParseState;

/* Stop parsing. */
static JsonParseErrorType
refuse(ParseState *state, const char *problem)
{
	state->problem = problem;
	return JSON_SEM_ACTION_FAILED;
}

static Level *
current(ParseState *state)
{
	return state->depth > 0 ? &state->levels[state->depth - 1] : NULL;
}

static JsonParseErrorType
push(ParseState *state, Level level)
{
	if (state->depth == MAX_DEPTH)
		return refuse(state, "it is nested too deeply");
	state->levels[state->depth++] = level;
	return JSON_SUCCESS;
}

/* A zeroed element at the end of an array that doubles when full. */
static void *
add_element(void **array, int *count, int *capacity, size_t size)
{
	char *element;

	if (*count == *capacity)
	{
		*capacity = Max(*capacity * 2, 16);
		if (*array == NULL)
			*array = palloc_extended(*capacity * size, MCXT_ALLOC_HUGE);
		else
			*array = repalloc_huge(*array, *capacity * size);
	}
	element = (char *) *array + *count * size;
	memset(element, 0, size);
	(*count)++;
	return element;
}

static ManifestFile *
last_file(ParseState *state)
{
	return &state->manifest->files[state->manifest->nfiles - 1];
}

/* An object begins: the manifest, a file, a frame, or something unknown. */
static JsonParseErrorType
object_start(void *arg)
{
	ParseState *state = arg;
	Level *parent = current(state);
	Level level = {0};

	if (parent == NULL)
	{
		level.fields = manifest_fields;
		level.target = state->manifest;
	}
	else if (parent->holds_files)
	{
		level.fields = manifest_file_fields;
		level.target = add_element((void **) &state->manifest->files, &state->manifest->nfiles,
								   &state->files_capacity, sizeof(ManifestFile));
		state->frames_capacity = 0;
	}
	else if (parent->holds_frames)
	{
		ManifestFile *file = last_file(state);

		level.fields = manifest_frame_fields;
		level.target = add_element((void **) &file->frames, &file->nframes, &state->frames_capacity,
								   sizeof(ManifestFrame));
	}
	return push(state, level);
}

/* Whether a file came with neither of the two that let us check it. */
static bool
is_unchecked(ParseState *state)
{
	static const uint8 none[DIGEST_BYTES] = {0};
	ManifestFile *file = last_file(state);

	return file->frames == NULL && memcmp(file->sha256, none, DIGEST_BYTES) == 0;
}

/* An object ends: nothing that we need may be missing. */
static JsonParseErrorType
object_end(void *arg)
{
	ParseState *state = arg;
	Level *level = &state->levels[--state->depth];

	if (level->key != NULL)
		pfree(level->key);
	for (int i = 0; level->fields != NULL && level->fields[i].key != NULL; i++)
	{
		if (level->fields[i].required && (level->seen & (1U << i)) == 0)
			return refuse(state, psprintf("\"%s\" is missing", level->fields[i].key));
	}
	if (level->fields == manifest_file_fields && is_unchecked(state))
		return refuse(state, "a file has neither \"frames\" nor \"sha256\"");
	return JSON_SUCCESS;
}

/* An array begins: of files, of frames, or of something unknown. */
static JsonParseErrorType
array_start(void *arg)
{
	ParseState *state = arg;
	Level *parent = current(state);
	Level level = {0};

	if (parent == NULL)
		return refuse(state, "it is not an object");
	if (parent->fields == manifest_fields && strcmp(parent->key, "files") == 0)
	{
		if (state->saw_files)
			return refuse(state, "\"files\" is there twice");
		state->saw_files = true;
		level.holds_files = true;
	}
	else if (parent->fields == manifest_file_fields && strcmp(parent->key, "frames") == 0)
	{
		if (last_file(state)->frames != NULL)
			return refuse(state, "\"frames\" is there twice");
		level.holds_frames = true;
	}
	return push(state, level);
}

static JsonParseErrorType
array_end(void *arg)
{
	ParseState *state = arg;

	state->depth--;
	return JSON_SUCCESS;
}

/* A member's name comes before its value. */
static JsonParseErrorType
field_start(void *arg, char *name, bool isnull)
{
	Level *level = current(arg);

	if (level->key != NULL)
		pfree(level->key);
	level->key = name;
	return JSON_SUCCESS;
}

/* A string, number, boolean or null. */
static JsonParseErrorType
scalar(void *arg, char *token, JsonTokenType type)
{
	ParseState *state = arg;
	Level *level = current(state);
	const Field *field;

	if (level == NULL || level->holds_files || level->holds_frames)
		return refuse(state, "there is a value where an object belongs");
	for (field = level->fields; field != NULL && field->key != NULL; field++)
	{
		if (strcmp(field->key, level->key) != 0)
			continue;
		if ((level->seen & (1U << (field - level->fields))) != 0)
			return refuse(state, psprintf("\"%s\" is there twice", field->key));
		level->seen |= 1U << (field - level->fields);
		if (!manifest_store(field, level->target, token, type))
			return refuse(state, psprintf("\"%s\" has an invalid value", field->key));
		if (field->type == FIELD_TEXT || field->type == FIELD_TEXT_OR_NULL)
			return JSON_SUCCESS; /* the struct keeps the token */
		break;
	}
	pfree(token);
	return JSON_SUCCESS;
}

/*
 * Parse a manifest in the server's encoding; or NULL and what is wrong.  The
 * text need not end with a zero byte.
 */
Manifest *
manifest_parse(char *json, size_t len, const char **problem)
{
	ParseState state = {.manifest = palloc0_object(Manifest)};
	JsonSemAction actions = {
		.semstate = &state,
		.object_start = object_start,
		.object_end = object_end,
		.array_start = array_start,
		.array_end = array_end,
		.object_field_start = field_start,
		.scalar = scalar,
	};
	JsonLexContext *lex =
		makeJsonLexContextCstringLen(NULL, json, len, GetDatabaseEncoding(), true);
	JsonParseErrorType result = pg_parse_json(lex, &actions);

	*problem = state.problem;
	if (result != JSON_SUCCESS && *problem == NULL)
		*problem = pstrdup(json_errdetail(result, lex)); /* the lexer's own goes with it */
	if (*problem == NULL && !state.saw_files)
		*problem = "\"files\" is missing";
	freeJsonLexContext(lex);
	return *problem == NULL ? state.manifest : NULL;
}
