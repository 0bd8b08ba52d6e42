/*
 * toc_write.c
 *	  Writes a directory archive's toc.dat.
 */
#include "postgres.h"

#include "toc/toc.h"
#include "toc/toc_format.h"

static void
write_byte(ByteBuffer *out, uint8 byte)
{
	bytebuffer_append(out, &byte, 1);
}

/* An integer: a sign, then the magnitude with its lowest byte first. */
static void
write_int(ByteBuffer *out, int value)
{
	uint32 magnitude = value < 0 ? -(uint32) value : (uint32) value;

	write_byte(out, value < 0);
	for (int i = 0; i < TOC_INT_SIZE; i++)
		write_byte(out, (uint8) (magnitude >> (8 * i)));
}

static void
write_string(ByteBuffer *out, const char *string)
{
	size_t len;

	if (string == NULL)
	{
		write_int(out, -1);
		return;
	}
	len = strlen(string);
	if (len > PG_INT32_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("string of %zu bytes is too long for an archive", len)));
	write_int(out, (int) len);
	bytebuffer_append(out, string, len);
}

/* Oids and dependencies are digits in a string, for pg_dump's history. */
static void
write_number(ByteBuffer *out, uint32 number)
{
	char digits[16];

	snprintf(digits, sizeof(digits), "%u", number);
	write_string(out, digits);
}

static void
write_header(ByteBuffer *out, const TocHeader *header, Codec codec)
{
	bytebuffer_append(out, TOC_MAGIC, TOC_MAGIC_LEN);
	write_byte(out, header->major);
	write_byte(out, header->minor);
	write_byte(out, header->revision);
	write_byte(out, TOC_INT_SIZE);
	write_byte(out, TOC_OFFSET_SIZE);
	write_byte(out, TOC_FORMAT_DIRECTORY);
	write_byte(out, (uint8) codec);
	for (int i = 0; i < (int) lengthof(header->created); i++)
		write_int(out, header->created[i]);
	write_string(out, header->dbname);
	write_string(out, header->server_version);
	write_string(out, header->dump_version);
}

/* One entry; the order of its fields is the format. */
static void
write_entry(ByteBuffer *out, const TocEntry *entry)
{
	write_int(out, entry->dump_id);
	write_int(out, entry->had_dumper ? 1 : 0);
	write_number(out, entry->catalog_tableoid);
	write_number(out, entry->catalog_oid);
	write_string(out, entry->tag);
	write_string(out, entry->desc);
	write_int(out, entry->section);
	write_string(out, entry->defn);
	write_string(out, entry->drop_stmt);
	write_string(out, entry->copy_stmt);
	write_string(out, entry->schema);
	write_string(out, entry->tablespace);
	write_string(out, entry->tableam);
	write_int(out, entry->relkind);
	write_string(out, entry->owner);
	write_string(out, "false"); /* tables with OIDs are history */
	for (int i = 0; i < entry->ndependencies; i++)
		write_number(out, (uint32) entry->dependencies[i]);
	write_string(out, NULL);
	write_string(out, entry->filename != NULL ? entry->filename : "");
}

static void
write_entries(ByteBuffer *out, const TocEntries *list, int from, int to)
{
	for (int i = from; i < to; i++)
		write_entry(out, list->items[i]);
}

/* Where table data belongs: before other data and before what needs data. */
static int
data_position(const TocEntries *entries)
{
	for (int i = 0; i < entries->count; i++)
	{
		if (entries->items[i]->section >= TOC_DATA)
			return i;
	}
	return entries->count;
}

/* Append a toc.dat whose data files are compressed with the codec. */
void
toc_write(const Toc *toc, Codec codec, ByteBuffer *out)
{
	int data = data_position(&toc->entries);

	write_header(out, &toc->header, codec);
	write_int(out, toc->entries.count + toc->table_data.count + toc->large_objects.count +
					   toc->refreshes.count);
	write_entries(out, &toc->entries, 0, data);
	write_entries(out, &toc->table_data, 0, toc->table_data.count);
	write_entries(out, &toc->large_objects, 0, toc->large_objects.count);
	write_entries(out, &toc->entries, data, toc->entries.count);
	write_entries(out, &toc->refreshes, 0, toc->refreshes.count);
}
