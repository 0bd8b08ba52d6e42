/*
 * toc_large_objects.c
 *	  Large objects in an archive, as pg_dump has written them since version 17.
 *
 * A BLOB METADATA entry stands for up to a thousand objects of one owner with
 * the same rights; its text is the list of their oids, one a line.  A BLOBS
 * entry has their bytes.  The text of their rights names the first object only,
 * and is meant for all of them.
 */
#include "postgres.h"

#include "catalog/pg_largeobject_d.h"
#include "lib/stringinfo.h"
#include "toc/toc.h"
#include "utils/builtins.h"

static bool
is_kind(const TocEntry *entry, const char *desc)
{
	return strcmp(entry->desc, desc) == 0;
}

static void
depend_on(TocEntry *entry, const TocEntry *metadata)
{
	entry->dependencies = palloc_array(int, 1);
	entry->dependencies[0] = metadata->dump_id;
	entry->ndependencies = 1;
}

/*
 * Add the entries that make objects and fill them; returns the first.  The
 * data's number, which names its file, is in the one after it.
 */
TocEntry *
toc_add_large_objects(Toc *toc, const char *tag, const char *oids, const char *owner)
{
	MemoryContext previous = MemoryContextSwitchTo(toc->context);
	TocEntry *metadata = toc_make_entry(toc, "BLOB METADATA", TOC_DATA, InvalidOid);
	TocEntry *data = toc_make_entry(toc, "BLOBS", TOC_DATA, InvalidOid);

	metadata->catalog_tableoid = LargeObjectRelationId;
	metadata->catalog_oid = strtoul(oids, NULL, 10);
	metadata->defn = pstrdup(oids);
	metadata->drop_stmt = pstrdup("-- dummy"); /* pg_restore --clean wants to see some */
	metadata->tag = data->tag = pstrdup(tag);
	metadata->owner = data->owner = pstrdup(owner);
	data->had_dumper = true;
	data->filename = psprintf("blobs_%d.toc", data->dump_id);
	depend_on(data, metadata);
	toc_append(toc, &toc->large_objects, metadata);
	toc_append(toc, &toc->large_objects, data);
	MemoryContextSwitchTo(previous);
	return metadata;
}

/* Add the rights to the objects of an entry, or a comment on or a label of one. */
void
toc_add_remark(Toc *toc, const TocEntry *on, const char *desc, const char *tag, const char *defn)
{
	MemoryContext previous = MemoryContextSwitchTo(toc->context);
	TocEntry *entry = toc_make_entry(toc, desc, TOC_NONE, InvalidOid);

	entry->tag = pstrdup(tag);
	entry->defn = pstrdup(defn);
	entry->owner = pstrdup(on->owner);
	depend_on(entry, on);
	toc_append(toc, &toc->large_objects, entry);
	MemoryContextSwitchTo(previous);
}

/* The objects of a BLOB METADATA entry, in CurrentMemoryContext. */
Oid *
toc_large_objects(const TocEntry *metadata, uint32 *n)
{
	const char *line = metadata->defn == NULL ? "" : metadata->defn;
	Oid *objects = palloc_extended((strlen(line) / 2 + 1) * sizeof(Oid), MCXT_ALLOC_HUGE);

	*n = 0;
	while (*line != '\0')
	{
		size_t digits = strspn(line, "0123456789");
		uint64 oid = digits == 0 || digits > 10 ? 0 : strtou64(line, NULL, 10);

		if (oid == 0 || oid > PG_UINT32_MAX || line[digits] != '\n')
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("archive's list of large objects %s is damaged", metadata->tag)));
		objects[(*n)++] = (Oid) oid;
		line += digits + 1;
	}
	return objects;
}

/* The BLOB METADATA entry that an entry is about; NULL if it is about something else. */
const TocEntry *
toc_large_objects_of(const Toc *toc, const TocEntry *entry)
{
	if (is_kind(entry, "BLOB METADATA"))
		return entry;
	if (!is_kind(entry, "BLOBS") &&
		(!is_kind(entry, "ACL") || strncmp(entry->tag, "LARGE OBJECT", 12) != 0))
		return NULL;
	for (int i = 0; i < toc->entries.count && entry->ndependencies > 0; i++)
		if (toc->entries.items[i]->dump_id == entry->dependencies[0] &&
			is_kind(toc->entries.items[i], "BLOB METADATA"))
			return toc->entries.items[i];
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("archive does not say which large objects %s \"%s\" is about",
						   entry->desc, entry->tag)));
}

static void
append_list(StringInfo sql, const Oid *objects, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
		appendStringInfo(sql, i == 0 ? "%u" : ", %u", objects[i]);
}

/* Make objects, with their oids, instead of those that have them if that is asked for. */
static char *
creation(const TocEntry *metadata, bool no_owner, bool replace)
{
	StringInfoData sql;
	uint32 n;
	Oid *objects = toc_large_objects(metadata, &n);

	initStringInfo(&sql);
	if (replace)
	{
		appendStringInfoString(
			&sql, "SELECT pg_catalog.lo_unlink(m.oid) FROM pg_catalog.pg_largeobject_metadata m"
				  " WHERE m.oid OPERATOR(pg_catalog.=) ANY ('{");
		append_list(&sql, objects, n);
		appendStringInfoString(&sql, "}'::pg_catalog.oid[]);\n");
	}
	appendStringInfoString(&sql, "SELECT pg_catalog.lo_create(o) FROM pg_catalog.unnest('{");
	append_list(&sql, objects, n);
	appendStringInfoString(&sql, "}'::pg_catalog.oid[]) o;\n");
	for (uint32 i = 0; i < n && !no_owner; i++)
		appendStringInfo(&sql, "ALTER LARGE OBJECT %u OWNER TO %s;\n", objects[i],
						 quote_identifier(metadata->owner));
	return sql.data;
}

/* The text of their rights, with all objects where it has the first; names of roles may have any text in quotes. */
static char *
rights(const TocEntry *metadata, const TocEntry *acl)
{
	static const char words[] = "LARGE OBJECT ";
	StringInfoData sql;
	uint32 n;
	Oid *objects = toc_large_objects(metadata, &n);
	bool quoted = false;

	initStringInfo(&sql);
	for (const char *c = acl->defn; *c != '\0'; c++)
	{
		quoted ^= *c == '"';
		if (quoted || strncmp(c, words, strlen(words)) != 0)
		{
			appendStringInfoChar(&sql, *c);
			continue;
		}
		appendStringInfoString(&sql, words);
		append_list(&sql, objects, n);
		c += strlen(words);
		c += strspn(c, "0123456789") - 1;
	}
	return sql.data;
}

/* The statements of an entry that stands for several objects; NULL if this is none. */
char *
toc_large_objects_statement(const Toc *toc, const TocEntry *entry, bool no_owner, bool replace)
{
	const TocEntry *metadata = toc_large_objects_of(toc, entry);

	if (metadata == NULL)
		return NULL;
	if (metadata == entry)
		return creation(metadata, no_owner || metadata->owner == NULL, replace);
	return entry->defn != NULL && strncmp(entry->tag, "LARGE OBJECTS ", 14) == 0
			   ? rights(metadata, entry)
			   : NULL;
}
