/*
 * toc_encoding.c
 *	  Brings an archive's strings into the database's encoding.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "toc/toc_statement.h"

/* What an error is to say about the string that it came from. */
typedef struct Conversion
{
	int encoding;
	int dump_id;      /* 0: the header */
	const char *desc; /* these are NULL until they are known to be valid */
	const char *tag;
} Conversion;

static void
conversion_context(void *arg)
{
	const Conversion *conversion = arg;

	if (conversion->dump_id == 0)
		errcontext("header of the archive's table of contents");
	else if (conversion->tag == NULL)
		errcontext("entry %d of the archive's table of contents", conversion->dump_id);
	else
		errcontext("entry %d of the archive's table of contents: %s \"%s\"", conversion->dump_id,
				   conversion->desc, conversion->tag);
}

/* Convert or just validate one string in place. */
static void
convert(const Conversion *conversion, char **string)
{
	if (*string == NULL)
		return;
	*string = pg_any_to_server(*string, strlen(*string), conversion->encoding);
}

static void
convert_header(Conversion *conversion, TocHeader *header)
{
	convert(conversion, &header->dbname);
	convert(conversion, &header->server_version);
	convert(conversion, &header->dump_version);
}

static void
convert_entry(Conversion *conversion, TocEntry *entry)
{
	char **const strings[] = {
		&entry->defn,       &entry->drop_stmt, &entry->copy_stmt, &entry->schema,
		&entry->tablespace, &entry->tableam,   &entry->owner,     &entry->filename,
	};

	conversion->dump_id = entry->dump_id;
	conversion->desc = conversion->tag = NULL;
	convert(conversion, &entry->desc);
	convert(conversion, &entry->tag);
	conversion->desc = entry->desc;
	conversion->tag = entry->tag;
	for (int i = 0; i < (int) lengthof(strings); i++)
		convert(conversion, strings[i]);
}

/*
 * Convert an archive that was written in an encoding to the database's.  Also
 * where they are the same each string is validated: the file is not trusted,
 * and the parser is never shown what is no valid text.
 *
 * Conversions are looked up in the catalogs: needs a transaction.
 */
void
toc_convert(Toc *toc, int encoding)
{
	MemoryContext previous = MemoryContextSwitchTo(toc->context);
	Conversion conversion = {.encoding = encoding};
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = conversion_context,
		.arg = &conversion,
	};

	error_context_stack = &callback;
	convert_header(&conversion, &toc->header);
	for (int i = 0; i < toc->entries.count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		convert_entry(&conversion, toc->entries.items[i]);
	}
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(previous);
}
