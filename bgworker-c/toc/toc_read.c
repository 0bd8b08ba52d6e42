/*
 * toc_read.c
 *	  Reads pg_dump's table of contents from memory.
 *
 * The archive is not trusted: a pipe may break, a file may be edited.  Every
 * length is held against what remains, so no input makes us read beyond the
 * end or allocate more than a small multiple of what we were given.
 */
#include "postgres.h"

#include "common/int.h"
#include "miscadmin.h"
#include "toc/toc.h"
#include "toc/toc_format.h"
#include "utils/memutils.h"

typedef struct TocReader
{
	const char *data;
	size_t len;
	size_t pos;
	bool custom; /* else the directory format's toc.dat */
} TocReader;

/* Raise that the archive is damaged, and where. */
pg_noreturn static void
corrupted(const TocReader *reader, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("archive's table of contents is damaged: %s", what),
			 errdetail("The damage is at or before byte %zu of %zu.", reader->pos, reader->len)));
}

/* Take bytes off the input. */
static const char *
read_bytes(TocReader *reader, size_t len)
{
	const char *bytes = reader->data + reader->pos;

	if (len > reader->len - reader->pos)
		corrupted(reader, "unexpected end");
	reader->pos += len;
	return bytes;
}

static uint8
read_byte(TocReader *reader)
{
	return (uint8) *read_bytes(reader, 1);
}

/* An integer: a sign, then the magnitude with its lowest byte first. */
static int
read_int(TocReader *reader)
{
	uint8 sign = read_byte(reader);
	const uint8 *bytes = (const uint8 *) read_bytes(reader, TOC_INT_SIZE);
	uint32 magnitude = 0;

	for (int i = TOC_INT_SIZE - 1; i >= 0; i--)
		magnitude = magnitude << 8 | bytes[i];
	if (sign > 1 || magnitude > PG_INT32_MAX)
		corrupted(reader, "invalid integer");
	return sign ? -(int) magnitude : (int) magnitude;
}

/* A string, or NULL where a length of -1 says that there is none. */
static char *
read_string(TocReader *reader)
{
	int len = read_int(reader);
	const char *bytes;

	if (len == -1)
		return NULL;
	if (len < 0)
		corrupted(reader, "negative length");
	bytes = read_bytes(reader, len);
	if (memchr(bytes, '\0', len) != NULL)
		corrupted(reader, "string with a zero byte");
	return pnstrdup(bytes, len);
}

/* A string that pg_dump never leaves out. */
static char *
read_required_string(TocReader *reader)
{
	char *string = read_string(reader);

	if (string == NULL)
		corrupted(reader, "missing string");
	return string;
}

/* A number that pg_dump writes as a string of digits. */
static uint32
parse_number(TocReader *reader, char *digits)
{
	uint64 value = 0;
	size_t len = strlen(digits);

	if (len == 0 || len > 10 || strspn(digits, "0123456789") != len)
		corrupted(reader, "invalid number");
	for (size_t i = 0; i < len; i++)
		value = value * 10 + (digits[i] - '0');
	if (value > PG_UINT32_MAX)
		corrupted(reader, "number out of range");
	pfree(digits);
	return (uint32) value;
}

/* The list of dump ids that a NULL string ends. */
static void
read_dependencies(TocReader *reader, TocEntry *entry)
{
	int capacity = 0;
	char *digits;

	while ((digits = read_string(reader)) != NULL)
	{
		uint32 dump_id = parse_number(reader, digits);

		if (dump_id > PG_INT32_MAX)
			corrupted(reader, "dependency out of range");
		if (capacity == 0)
		{
			capacity = 4;
			entry->dependencies = palloc_array(int, capacity);
		}
		else if (entry->ndependencies == capacity)
		{
			capacity *= 2;
			entry->dependencies = repalloc_array(entry->dependencies, int, capacity);
		}
		entry->dependencies[entry->ndependencies++] = (int) dump_id;
	}
}

/* What each format adds to an entry: where its data is. */
static void
read_data_location(TocReader *reader, TocEntry *entry)
{
	if (reader->custom)
	{
		uint8 state = read_byte(reader);

		if (state < TOC_OFFSET_UNSET || state > TOC_OFFSET_NO_DATA)
			corrupted(reader, "invalid data offset");
		read_bytes(reader, TOC_OFFSET_SIZE);
		return;
	}

	entry->filename = read_required_string(reader);
	if (strchr(entry->filename, '/') != NULL || entry->filename[0] == '.')
		corrupted(reader, "data file outside of the archive");
	if (entry->filename[0] == '\0')
		entry->filename = NULL;
}

/* One entry; the order of its fields is the format. */
static TocEntry *
read_entry(TocReader *reader)
{
	TocEntry *entry = palloc0_object(TocEntry);
	int section;
	int relkind;

	entry->dump_id = read_int(reader);
	if (entry->dump_id <= 0)
		corrupted(reader, "invalid entry number");
	entry->had_dumper = read_int(reader) != 0;
	entry->catalog_tableoid = parse_number(reader, read_required_string(reader));
	entry->catalog_oid = parse_number(reader, read_required_string(reader));
	entry->tag = read_required_string(reader);
	entry->desc = read_required_string(reader);
	section = read_int(reader);
	if (section < TOC_NONE || section > TOC_POST_DATA)
		corrupted(reader, "invalid section");
	entry->section = (TocSection) section;
	entry->defn = read_string(reader);
	entry->drop_stmt = read_string(reader);
	entry->copy_stmt = read_string(reader);
	entry->schema = read_string(reader);
	entry->tablespace = read_string(reader);
	entry->tableam = read_string(reader);
	relkind = read_int(reader);
	if (relkind < 0 || relkind > PG_INT8_MAX)
		corrupted(reader, "invalid relation kind");
	entry->relkind = (char) relkind;
	entry->owner = read_string(reader);
	if (strcmp(read_required_string(reader), "false") != 0)
		corrupted(reader, "table with OIDs");
	read_dependencies(reader, entry);
	read_data_location(reader, entry);
	return entry;
}

/* Refuse what this pg_dump 18 does not write. */
static void
check_version(const TocHeader *header)
{
	if (header->major == TOC_MAJOR && header->minor == TOC_MINOR)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("archive version %d.%d is not supported", header->major, header->minor),
			 errdetail("Version %d.%d, which pg_dump of PostgreSQL 18 writes, is.", TOC_MAJOR,
					   TOC_MINOR),
			 errhint("Set steep_repl.pg_dump_path to the pg_dump of this server's version.")));
}

/* The header; decides which format the rest has. */
static void
read_header(TocReader *reader, TocHeader *header)
{
	uint8 format;

	if (memcmp(read_bytes(reader, TOC_MAGIC_LEN), TOC_MAGIC, TOC_MAGIC_LEN) != 0)
		corrupted(reader, "not an archive of pg_dump");
	header->major = read_byte(reader);
	header->minor = read_byte(reader);
	header->revision = read_byte(reader);
	check_version(header);
	if (read_byte(reader) != TOC_INT_SIZE || read_byte(reader) != TOC_OFFSET_SIZE)
		corrupted(reader, "unexpected size of integers");
	format = read_byte(reader);
	if (format != TOC_FORMAT_CUSTOM && format != TOC_FORMAT_DIRECTORY)
		corrupted(reader, "unexpected archive format");
	reader->custom = format == TOC_FORMAT_CUSTOM;
	header->compression = read_byte(reader);
	if (header->compression > CODEC_ZSTD)
		corrupted(reader, "unknown compression method");
	for (int i = 0; i < (int) lengthof(header->created); i++)
		header->created[i] = read_int(reader);
	header->dbname = read_string(reader);
	header->server_version = read_string(reader);
	header->dump_version = read_string(reader);
}

/* The entries, all of which must be there, and nothing after them. */
static void
read_entries(TocReader *reader, Toc *toc)
{
	int count = read_int(reader);

	if (count < 0 || (size_t) count > (reader->len - reader->pos) / TOC_ENTRY_MIN_SIZE)
		corrupted(reader, "invalid number of entries");
	for (int i = 0; i < count; i++)
	{
		TocEntry *entry;

		CHECK_FOR_INTERRUPTS();
		entry = read_entry(reader);
		toc->max_dump_id = Max(toc->max_dump_id, entry->dump_id);
		for (int dep = 0; dep < entry->ndependencies; dep++)
			toc->max_dump_id = Max(toc->max_dump_id, entry->dependencies[dep]);
		toc_append(toc, &toc->entries, entry);
	}
	if (reader->pos != reader->len)
		corrupted(reader, "unexpected data after the last entry");
}

/*
 * Read an archive that holds no data, as pg_dump --schema-only writes it in
 * its custom format, or the toc.dat of a directory.  All of it lives in a
 * context of its own below CurrentMemoryContext.
 */
Toc *
toc_read(const char *data, size_t len)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "steep_repl table of contents", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	TocReader reader = {.data = data, .len = len};
	Toc *toc = palloc0_object(Toc);

	toc->context = context;
	read_header(&reader, &toc->header);
	read_entries(&reader, toc);
	toc_index_relations(toc);
	MemoryContextSwitchTo(previous);
	return toc;
}
