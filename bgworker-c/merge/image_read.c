/*
 * image_read.c
 *	  Reads the images of rows that a merge has read.
 *
 * An image is a flat JSON object of strings and NULLs, as json_object and
 * jsonb write it, on a line of its own. PostgreSQL would read the JSON once for
 * the audit log and once more for the row, into jsonb first. Here values are
 * made plain where they lie, and all images of an answer have the same names.
 * What looks like nothing that a server would answer is refused.
 */
#include "merge/image_read.h"

#include "access/htup_details.h"
#include "merge/answer_read.h"
#include "text/byte_mask.h"
#include "port/pg_bitutils.h"

struct ImageReader
{
	int n_fields;
	int room;
	bool is_new; /* the last image had other names than the one before */
	ImageField *fields;
	int *sorted; /* fields in the order of jsonb's keys */
	JsonbPair *pairs;
	MemoryContext context;
};

/* In CurrentMemoryContext. */
ImageReader *
image_reader_create(void)
{
	ImageReader *reader = palloc0(sizeof(ImageReader));

	reader->context = CurrentMemoryContext;
	return reader;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What is behind a backslash, which `at` stands on, into `to`; where it ends. */
static char *
read_escape(char *at, char *to)
{
	static const char plain[256] = {
		['"'] = '"',  ['\\'] = '\\', ['b'] = '\b', ['f'] = '\f',
		['n'] = '\n', ['r'] = '\r',  ['t'] = '\t',
	};

	at++;
	*to = plain[(uint8) *at];
	if (*to != '\0')
		return at + 1;
	/* servers write other characters below 32 only so */
	if (*at == 'u' && at[1] == '0' && at[2] == '0' && hex_digit(at[3]) >= 0 &&
		hex_digit(at[3]) < 8 && hex_digit(at[4]) >= 0)
	{
		*to = (char) (hex_digit(at[3]) << 4 | hex_digit(at[4]));
		if (*to != '\0')
			return at + 5;
	}
	answer_refuse("An image has an escape that no server writes.");
}

/* A string, which `at` stands on, is made plain where it is; what follows it. */
static char *
read_string(char *at, char **string, size_t *len)
{
	char *to;

	if (*at++ != '"')
		answer_refuse("An image holds what is no string.");
	*string = to = at;
	for (;;)
	{
		char *from = at;
		uint32 mask;

		while ((mask = mask_controls_or(at, '"', '\\')) == 0)
			at += MASK_BYTES;
		at += pg_rightmost_one_pos32(mask);
		if (to != from)
			memmove(to, from, at - from);
		to += at - from;
		if (*at != '\\')
			break;
		at = read_escape(at, to++);
	}
	if (*at++ != '"')
		answer_refuse("An image holds a string that does not end.");
	*len = to - *string;
	*to = '\0';
	return at;
}

static char *
skip_space(char *at)
{
	while (*at == ' ')
		at++;
	return at;
}

static void
make_room(ImageReader *reader)
{
	int room = Max(16, reader->room * 2);
	MemoryContext previous = MemoryContextSwitchTo(reader->context);
	ImageField *fields = palloc0(room * sizeof(ImageField));

	if (reader->n_fields > 0)
		memcpy(fields, reader->fields, reader->n_fields * sizeof(ImageField));
	reader->fields = fields;
	reader->sorted = palloc(room * sizeof(int));
	reader->pairs = palloc(room * sizeof(JsonbPair));
	reader->room = room;
	MemoryContextSwitchTo(previous);
}

/* The name of a field, which is most often that of the image before. */
static void
set_name(ImageReader *reader, int i, const char *name, size_t len)
{
	ImageField *field = &reader->fields[i];

	if (!reader->is_new && (size_t) field->name_len == len && memcmp(field->name, name, len) == 0)
		return;
	reader->is_new = true;
	field->name = MemoryContextStrdup(reader->context, name);
	field->name_len = (int) len;
}

static bool
key_is_less(const ImageField *left, const ImageField *right)
{
	if (left->name_len != right->name_len)
		return left->name_len < right->name_len;
	return memcmp(left->name, right->name, left->name_len) < 0;
}

/* Few fields, and once an answer: by insertion. */
static void
sort_fields(ImageReader *reader)
{
	for (int i = 0; i < reader->n_fields; i++)
	{
		int at = i;

		for (; at > 0 && key_is_less(&reader->fields[i], &reader->fields[reader->sorted[at - 1]]);
			 at--)
			reader->sorted[at] = reader->sorted[at - 1];
		reader->sorted[at] = i;
		if (at > 0 && !key_is_less(&reader->fields[reader->sorted[at - 1]], &reader->fields[i]))
			answer_refuse("An image has a name twice.");
	}
}

/* Read a name and its value, which is the n-th from 0; what follows them. */
static char *
read_field(ImageReader *reader, int n, char *at)
{
	char *name;
	size_t name_len;
	ImageField *field;

	if (n == MaxTupleAttributeNumber)
		answer_refuse("An image has more columns than a row can have.");
	if (n == reader->room)
		make_room(reader);
	at = read_string(at, &name, &name_len);
	set_name(reader, n, name, name_len);
	reader->n_fields = Max(reader->n_fields, n + 1);
	at = skip_space(at);
	if (*at++ != ':')
		answer_refuse("An image has a name without a value.");
	at = skip_space(at);
	field = &reader->fields[n];
	if (strncmp(at, "null", 4) != 0)
		return read_string(at, &field->value, &field->len);
	field->value = NULL;
	field->len = 0;
	return at + 4;
}

/* Read one image, whose text becomes its fields; where its line ended. */
char *
image_read(ImageReader *reader, char *text)
{
	int n = 0;
	char *at = text;
	int n_before = reader->n_fields;

	reader->is_new = false;
	if (*at != '{')
		answer_refuse("An image is no object.");
	at = skip_space(at + 1);
	while (*at != '}')
	{
		reader->is_new = reader->is_new || n >= n_before;
		at = skip_space(read_field(reader, n++, at));
		if (*at != ',' && *at != '}')
			answer_refuse("An image is not taken apart.");
		at = skip_space(at + (*at == ','));
	}
	reader->is_new = reader->is_new || n != n_before;
	reader->n_fields = n;
	if (reader->is_new)
		sort_fields(reader);
	at++;
	if (*at != '\n' && *at != '\0')
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("the image of a row does not end with its line")));
	return at;
}

/* The fields of the image that was read last, as they stood in it. */
ImageField *
image_fields(ImageReader *reader)
{
	return reader->fields;
}

/* The field of that name; NULL where there is none. */
const ImageField *
image_field(ImageReader *reader, const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; i < reader->n_fields; i++)
		if ((size_t) reader->fields[i].name_len == len &&
			memcmp(reader->fields[i].name, name, len) == 0)
			return &reader->fields[i];
	return NULL;
}

/* Whether that image has other names than the one before. */
bool
image_shape_is_new(const ImageReader *reader)
{
	return reader->is_new;
}

/* Text of an image as a value of jsonb; NULL is NULL. */
JsonbValue
image_string(const char *text, size_t len)
{
	JsonbValue value = {.type = text == NULL ? jbvNull : jbvString};

	if (text != NULL)
	{
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = (int) len;
	}
	return value;
}

/* That image as jsonb, in CurrentMemoryContext. */
Jsonb *
image_to_jsonb(ImageReader *reader)
{
	JsonbValue object = {.type = jbvObject};

	object.val.object.nPairs = reader->n_fields;
	object.val.object.pairs = reader->pairs;
	for (int i = 0; i < reader->n_fields; i++)
	{
		const ImageField *field = &reader->fields[reader->sorted[i]];

		reader->pairs[i] = (JsonbPair){image_string(field->name, field->name_len),
									   image_string(field->value, field->len), i};
	}
	return JsonbValueToJsonb(&object);
}
