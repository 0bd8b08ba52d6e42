/*
 * row_fields.c
 *	  Rows of COPY text, found in a stream of bytes.
 *
 * The text is as COPY ... TO writes it, and this reads no more than that: a
 * tab between fields, a newline after each row, a backslash before what would
 * be taken for either.  COPY ... FROM reads more, and copies a row twice to do
 * so; here fields are found, and made plain, where the row came to lie.
 */
#include "text/row_fields.h"

#include "text/byte_mask.h"
#include "mb/pg_wchar.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#define FIRST_CAPACITY ((size_t) 256 * 1024)
#define LEAST_CAPACITY ((size_t) 8 * 1024)

struct RowFields
{
	RowBytes source;
	int encoding;
	char *buffer; /* of capacity + MASK_PADDING bytes */
	size_t capacity;
	size_t row;   /* begin of the row at hand */
	size_t next;  /* and its end */
	size_t whole; /* rows end here; later ones are not all there */
	size_t valid; /* up to here, of those, the text is valid */
	size_t len;
	bool ended; /* no more bytes will come */
	int n_fields;
	int max_fields; /* of which a row has room here */
	RowField fields[FLEXIBLE_ARRAY_MEMBER];
};

/* In CurrentMemoryContext. So many bytes are expected: there are many small tables. */
RowFields *
row_fields_create(int max_fields, int encoding, RowBytes source, uint64 expected)
{
	RowFields *rows = palloc0(offsetof(RowFields, fields) + Max(max_fields, 1) * sizeof(RowField));

	rows->source = source;
	rows->encoding = encoding;
	rows->max_fields = Max(max_fields, 1); /* that there is nothing is a field, too */
	rows->capacity = Max(Min(expected + 1, FIRST_CAPACITY), LEAST_CAPACITY);
	rows->buffer = palloc(rows->capacity + MASK_PADDING);
	return rows;
}

/* Make room for a row that fills the buffer. */
static void
grow(RowFields *rows)
{
	size_t capacity = Min(rows->capacity * 2, MaxAllocSize - MASK_PADDING);

	if (capacity == rows->capacity)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a row takes more than %zu bytes of text", capacity)));
	rows->buffer = repalloc(rows->buffer, capacity + MASK_PADDING);
	rows->capacity = capacity;
}

/* How many of these bytes are whole rows. */
static size_t
whole_rows(const char *text, size_t len)
{
	while (len > 0 && text[len - 1] != '\n')
		len--;
	return len;
}

/* Read until there is another whole row, or no more bytes come. */
static void
read_more(RowFields *rows)
{
	size_t whole = 0;

	rows->len -= rows->next;
	memmove(rows->buffer, rows->buffer + rows->next, rows->len);
	rows->next = 0;
	while (whole == 0 && !rows->ended)
	{
		size_t room;
		size_t got;

		if (rows->len == rows->capacity)
			grow(rows);
		room = rows->capacity - rows->len;
		got = rows->source(rows->buffer + rows->len, room);
		rows->ended = got < room;
		whole = whole_rows(rows->buffer + rows->len, got);
		if (whole > 0)
			whole += rows->len;
		rows->len += got;
	}
	memset(rows->buffer + rows->len, 0, MASK_PADDING);
	rows->whole = whole;
	rows->valid = pg_encoding_verifymbstr(rows->encoding, rows->buffer, whole);
}

static void
add_field(RowFields *rows, char *text, size_t len, bool escaped)
{
	if (rows->n_fields < rows->max_fields)
		rows->fields[rows->n_fields] = (RowField){text, len, escaped};
	rows->n_fields++;
}

/* Find the row's fields. */
static RowRead
split(RowFields *rows)
{
	char *field = rows->buffer + rows->next;
	const char *end = rows->buffer + rows->valid;
	const char *skip = NULL; /* what follows a backslash stands for itself */
	bool escaped = false;

	rows->row = rows->next;
	rows->n_fields = 0;
	for (char *chunk = field; chunk < end; chunk += MASK_BYTES)
	{
		for (uint32 mask = mask_any_of(chunk, '\t', '\n', '\\', '\r'); mask != 0; mask &= mask - 1)
		{
			char *at = chunk + pg_rightmost_one_pos32(mask);

			if (at == skip)
				continue;
			if (at >= end)
				break;
			if (*at == '\r')
				return ROW_CARRIAGE_RETURN;
			if (*at == '\\')
			{
				skip = at + 1;
				escaped = true;
				continue;
			}
			add_field(rows, field, at - field, escaped);
			field = at + 1;
			escaped = false;
			if (*at == '\n')
			{
				rows->next = field - rows->buffer;
				return ROW_FOUND;
			}
		}
	}
	return rows->valid < rows->whole ? ROW_INVALID : ROW_CUT_OFF;
}

/* Find the next row. What the last one's fields were is forgotten. */
RowRead
row_fields_next(RowFields *rows)
{
	RowRead result;

	if (rows->next == rows->whole)
		read_more(rows);
	if (rows->next == rows->len)
		return ROW_END;
	result = split(rows);
	if (result == ROW_FOUND && rows->next - rows->row == 3 &&
		memcmp(rows->buffer + rows->row, "\\.\n", 3) == 0)
		return ROW_END;
	return result;
}

/* The row's fields, of which no more than max_fields are there, and how many it has. */
RowField *
row_fields_get(RowFields *rows, int *n_fields)
{
	*n_fields = rows->n_fields;
	return rows->fields;
}

/* The row as it was read, for messages: of no use once a field was unescaped. */
const char *
row_fields_line(const RowFields *rows, size_t *len)
{
	*len = (rows->next > rows->row ? rows->next - 1 : rows->len) - rows->row;
	return rows->buffer + rows->row;
}

/* Raise what is wrong where row_fields_next found no valid text. */
void
row_fields_report_invalid(const RowFields *rows)
{
	report_invalid_encoding(rows->encoding, rows->buffer + rows->valid, rows->len - rows->valid);
}

/* Whether it stands for NULL; to be asked before it is unescaped. */
bool
row_field_is_null(const RowField *field)
{
	return field->len == 2 && field->text[0] == '\\' && field->text[1] == 'N';
}

/* What a backslash and this byte stand for; 0 for what COPY ... TO does not write. */
static const char unescaped[256] = {
	['b'] = '\b', ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r',
	['t'] = '\t', ['v'] = '\v', ['\\'] = '\\',
};

/*
 * Make a field the text that it stands for, and end it with a zero; false
 * where it is nothing that COPY ... TO writes.
 */
bool
row_field_unescape(RowField *field)
{
	const char *end = field->text + field->len;
	char *to = field->text;

	if (field->escaped)
	{
		for (const char *from = field->text; from < end; from++)
		{
			*to = *from;
			if (*from == '\\')
			{
				from++;
				*to = unescaped[(uint8) *from];
				if (from == end || *to == '\0')
					return false;
			}
			to++;
		}
		field->len = to - field->text;
	}
	field->text[field->len] = '\0';
	return true;
}
