/*
 * targets.c
 *	  Our parsers of what others wrote, each as its callers use it.
 */
#include "sanitize.h"

#include <fcntl.h>
#include <unistd.h>

#include "merge/answer_read.h"
#include "text/byte_mask.h"
#include "catalog/pg_type.h"
#include "text/copy_escape.h"
#include "fmgr.h"
#include "merge/image_read.h"
#include "text/jsonb_parse.h"
#include "files/manifest_read.h"
#include "mb/pg_wchar.h"
#include "text/number_parse.h"
#include "text/numeric_format.h"
#include "text/row_fields.h"
#include "toc/toc.h"
#include "toc/toc_statement.h"
#include "utils/builtins.h"
#include "text/value_parse.h"

/* Whose parsers no other file sees. */
#include "session/ascii_json.c"
#include "compare/overlap_join.c"

/* The input for a parser to write to, with so many zeros behind it. */
static char *
copy_input(const char *input, size_t len, size_t zeros)
{
	char *copy = palloc0(len + zeros);

	memcpy(copy, input, len);
	return copy;
}

static void
look_at_text(const char *text)
{
	if (text != NULL)
		look_at(text, strlen(text));
}

/* ---- snapshots */

static void
look_at_manifest(const Manifest *manifest)
{
	look_at_text(manifest->snapshot_id);
	look_at_text(manifest->slot_name);
	look_at_text(manifest->encoding);
	for (int i = 0; i < manifest->nfiles; i++)
	{
		look_at_text(manifest->files[i].name);
		look_at_text(manifest->files[i].table);
		look_at(manifest->files[i].frames, manifest->files[i].nframes * sizeof(ManifestFrame));
	}
}

static void
parse_manifest(const char *input, size_t len)
{
	const char *problem;
	Manifest *manifest = manifest_parse(copy_input(input, len, 0), len, &problem);

	look_at_text(problem);
	if (manifest != NULL)
		look_at_manifest(manifest);
}

/* From a file, which gets its digest where the input ends as it would before that. */
static void
read_manifest_file(const char *input, size_t len)
{
	static int dir = -1;
	SnapshotProblem problem = {0};
	uint8 digest[DIGEST_BYTES];
	char hex[DIGEST_HEX_SIZE];
	Manifest *manifest;
	int fd;

	if (dir < 0)
		dir = open(getenv("SANITIZE_DIR"), O_RDONLY | O_DIRECTORY);
	fd = openat(dir, "manifest.json", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, input, len) != (ssize_t) len)
		abort();
	if (len > 0 && input[len - 1] == ',')
	{
		digest_bytes(input, len, digest);
		digest_to_hex(digest, hex);
		if (dprintf(fd, "\"sha256\":\"%s\"}\n", hex) < 0)
			abort();
	}
	close(fd);
	manifest = manifest_read(dir, &problem);
	look_at_text(problem.problem);
	look_at_text(problem.expected);
	look_at_text(problem.found);
	if (manifest != NULL)
		look_at_manifest(manifest);
}

static void
read_toc(const char *input, size_t len)
{
	Toc *toc = toc_read(copy_input(input, len, 0), len);
	ByteBuffer out;
	int position = 0;

	while (toc_next_table(toc, &position) != NULL)
		seen++;
	for (int i = 0; i < toc->entries.count; i++)
		(void) toc_find_table(toc, toc->entries.items[i]->catalog_oid);
	toc_remove_secrets(toc);
	bytebuffer_init(&out, 1024);
	toc_write(toc, CODEC_ZSTD, &out);
	look_at(out.data, out.len);
	for (int i = 0; i < toc->entries.count; i++)
		look_at_text(toc_entry_statement(toc->entries.items[i], false));
}

/* ---- values */

static const struct
{
	Oid type;
	int32 typmod;
} columns[] = {
	{BOOLOID, -1},
	{INT2OID, -1},
	{INT4OID, -1},
	{INT8OID, -1},
	{NUMERICOID, -1},
	{NUMERICOID, ((10 << 16) | 2) + VARHDRSZ},
	{TEXTOID, -1},
	{VARCHAROID, 5 + VARHDRSZ},
	{BPCHAROID, 5 + VARHDRSZ},
	{DATEOID, -1},
	{TIMESTAMPOID, -1},
	{TIMESTAMPTZOID, -1},
	{JSONBOID, -1},
	{POINTOID, -1},
};

static void
parse_as(int column, char *text, size_t len)
{
	Datum value;

	if (value_parse_of(columns[column].type)(columns[column].typmod, text, len, &value))
		look_at(&value, sizeof(value));
}

/* One text as each type that is parsed here. */
static void
parse_values(const char *input, size_t len)
{
	for (int i = 0; i < (int) lengthof(columns); i++)
	{
		size_t zeros = columns[i].type == JSONBOID ? 1 + MASK_PADDING : 1;

		parse_as(i, copy_input(input, len, zeros), len);
	}
}

static void
parse_numbers(const char *input, size_t len)
{
	char *text = copy_input(input, len, 1);
	int64 integer;
	Decimal decimal;

	if (integer_scan(text, &integer) != NULL)
		look_at(&integer, sizeof(integer));
	if (decimal_scan(text, &decimal) != NULL)
		(void) decimal_to_numeric(&decimal);
}

static void
parse_jsonb_text(const char *input, size_t len)
{
	(void) jsonb_parse(copy_input(input, len, 1 + MASK_PADDING), len);
}

/* What is stored is a numeric: whole groups, below 10000 each. */
static void
format_numeric_bytes(const char *input, size_t len)
{
	size_t n = Max(len / 2, 2);
	struct varlena *stored = palloc0(VARHDRSZ + n * sizeof(uint16));
	uint16 *words = (uint16 *) VARDATA(stored);
	StringInfoData line;

	memcpy(words, input, Min(len, n * sizeof(uint16)));
	for (size_t i = 1 + ((words[0] & 0xC000) < 0x8000); i < n; i++)
		words[i] %= 10000;
	SET_VARSIZE(stored, VARHDRSZ + n * sizeof(uint16));
	initStringInfo(&line);
	if (numeric_format(&line, PointerGetDatum(stored)))
		look_at(line.data, line.len);
}

static void
escape_text(const char *input, size_t len)
{
	StringInfoData line;

	initStringInfo(&line);
	copy_escape(&line, copy_input(input, len, 0), len);
	look_at(line.data, line.len);
}

/* ---- rows */

static const char *source;
static size_t source_len;

static size_t
next_bytes(void *buf, size_t len)
{
	size_t n = Min(len, source_len);

	memcpy(buf, source, n);
	source += n;
	source_len -= n;
	return n;
}

static void
read_rows(const char *input, size_t len)
{
	RowFields *rows;
	RowRead found;

	source = input;
	source_len = len;
	rows = row_fields_create(lengthof(columns), PG_UTF8, next_bytes, len);
	while ((found = row_fields_next(rows)) == ROW_FOUND)
	{
		size_t line_len;
		const char *line = row_fields_line(rows, &line_len);
		int n_fields;
		RowField *fields;

		look_at(line, line_len);
		fields = row_fields_get(rows, &n_fields);
		for (int i = 0; i < Min(n_fields, (int) lengthof(columns)); i++)
			if (!row_field_is_null(&fields[i]) && row_field_unescape(&fields[i]))
				parse_as(i, fields[i].text, fields[i].len);
	}
	if (found == ROW_INVALID)
		row_fields_report_invalid(rows);
}

static void
look_at_images(char *images)
{
	ImageReader *reader = image_reader_create();

	while (*images != '\0')
	{
		char *end = image_read(reader, images);
		const ImageField *id = image_field(reader, "id");

		look_at_text(id == NULL ? NULL : id->value);
		(void) image_to_jsonb(reader);
		images = end + (*end == '\n');
	}
}

static void
read_images(const char *input, size_t len)
{
	look_at_images(images_copy(copy_input(input, len, 0), len));
}

static void
read_answer(const char *input, size_t len)
{
	Answer answer = answer_read(copy_input(input, len, 0), len);
	ImageReader *reader = image_reader_create();
	int at = 0;

	for (int i = 0; i < answer.n; i++)
	{
		look_at(&answer.rows[i].digest, sizeof(int64));
		(void) image_read(reader, answer.rows[i].image);
		(void) image_to_jsonb(reader);
		(void) answer_find(&answer, &at, answer.rows[i].number);
	}
}

static text *
text_of(const char *input, size_t len)
{
	return cstring_to_text_with_len(input, len);
}

static void
read_keys(const char *input, size_t len)
{
	Side side;

	n_keys = len % 3;
	side = read_side(text_of(input, len));
	for (int key = 0; key < n_keys; key++)
		for (int row = 0; row < side.n; row++)
			look_at(side.keys[key][row].text, side.keys[key][row].len);
}

/* ---- JavaScript */

static void
call_with_text(PGFunction function, const char *input, size_t len)
{
	LOCAL_FCINFO(fcinfo, 1);
	text *answer;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum){PointerGetDatum(text_of(input, len)), false};
	answer = DatumGetTextPP(function(fcinfo));
	look_at(VARDATA_ANY(answer), VARSIZE_ANY_EXHDR(answer));
}

static void
convert_json(const char *input, size_t len)
{
	set_database_encoding(PG_SQL_ASCII);
	call_with_text(steep_repl_json_to_js, input, len);
	call_with_text(steep_repl_json_from_js, input, len);
	set_database_encoding(PG_UTF8);
	/* a text of a database is valid there */
	if (pg_encoding_verifymbstr(PG_UTF8, input, len) == (int) len)
		call_with_text(steep_repl_json_to_js, input, len);
}

/* ---- all of them */

static const char *const json_words[] = {"{",
										 "}",
										 "[",
										 "]",
										 "\"",
										 ":",
										 ",",
										 "null",
										 "true",
										 "false",
										 "\\u0000",
										 "\\ud800",
										 "\\\\",
										 "1e999",
										 "-0",
										 "18446744073709551616",
										 "\"files\":[",
										 "\"frames\":[",
										 "\"sha256\":\"",
										 "\"format_version\":1",
										 "[[[[[[[[[[[[[[[[",
										 NULL};
static const char *const value_words[] = {"\\N",
										  "\t",
										  "\n",
										  "\\",
										  "\\.\n",
										  "\r",
										  "2024-02-29",
										  " 23:59:59.999999",
										  "+00",
										  "0000",
										  "999999999999999999",
										  ".",
										  "-",
										  "t",
										  "f",
										  "{\"a\": 1}",
										  ", ",
										  ": ",
										  "\xc3\xbc",
										  "\xff",
										  NULL};
static const char *const image_words[] = {
	"{",    "}",  "{1,2,3}", "{}", "\n", "{\"id\": \"1\"}",     "null", "\\u001f", "\\n",
	"\\\"", ", ", " : ",     ",",  "\"", "9223372036854775808", "-1",   "NULL",    "\xc3\xbc",
	NULL};
static const char *const no_words[] = {NULL};

const Target targets[] = {
	{"manifest", parse_manifest, json_words, 1},
	{"manifest-file", read_manifest_file, json_words, 10},
	{"toc", read_toc, no_words, 1},
	{"rows", read_rows, value_words, 1},
	{"values", parse_values, value_words, 1},
	{"jsonb", parse_jsonb_text, json_words, 1},
	{"numbers", parse_numbers, value_words, 1},
	{"numeric", format_numeric_bytes, no_words, 1},
	{"images", read_images, image_words, 1},
	{"answer", read_answer, image_words, 1},
	{"keys", read_keys, image_words, 1},
	{"json", convert_json, json_words, 1},
	{"escapes", escape_text, value_words, 1},
	{NULL, NULL, NULL, 0},
};
