/*
 * toc.c
 *	  Lookups in pg_dump's table of contents, and what is removed from it.
 */
#include "postgres.h"

#include "catalog/pg_class_d.h"
#include "base/settings.h"
#include "toc/toc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct TocRelation
{
	Oid relid; /* the key */
	TocEntry *entry;
} TocRelation;

/* Whether a string that may be missing is this one. */
static bool
is(const char *string, const char *expected)
{
	return string != NULL && strcmp(string, expected) == 0;
}

/* Add an entry to one of a table of contents' lists. */
void
toc_append(Toc *toc, TocEntries *list, TocEntry *entry)
{
	if (list->capacity == 0)
	{
		list->capacity = 64;
		list->items = MemoryContextAlloc(toc->context, list->capacity * sizeof(TocEntry *));
	}
	else if (list->count == list->capacity)
	{
		list->capacity *= 2;
		list->items = repalloc_huge(list->items, list->capacity * sizeof(TocEntry *));
	}
	list->items[list->count++] = entry;
}

/* An empty hash table by a fixed-size key. */
static HTAB *
make_hash(const char *name, MemoryContext context, Size key_size, Size entry_size)
{
	HASHCTL ctl = {.keysize = key_size, .entrysize = entry_size, .hcxt = context};

	return hash_create(name, 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Index the relations by oid. */
void
toc_index_relations(Toc *toc)
{
	if (toc->relations != NULL)
		hash_destroy(toc->relations);
	toc->relations =
		make_hash("steep_repl toc relations", toc->context, sizeof(Oid), sizeof(TocRelation));
	for (int i = 0; i < toc->entries.count; i++)
	{
		TocEntry *entry = toc->entries.items[i];
		TocRelation *relation;

		if (entry->catalog_tableoid != RelationRelationId)
			continue;
		if (!is(entry->desc, "TABLE") && !is(entry->desc, "MATERIALIZED VIEW"))
			continue;
		relation = hash_search(toc->relations, &entry->catalog_oid, HASH_ENTER, NULL);
		relation->entry = entry;
	}
}

/* The entry that creates a relation of that kind, or NULL. */
TocEntry *
toc_find_relation(const Toc *toc, Oid relid, const char *desc)
{
	TocRelation *relation = hash_search(toc->relations, &relid, HASH_FIND, NULL);

	if (relation == NULL || !is(relation->entry->desc, desc))
		return NULL;
	return relation->entry;
}

/* The entry that creates a table, partitioned ones too; NULL if none does. */
TocEntry *
toc_find_table(const Toc *toc, Oid relid)
{
	return toc_find_relation(toc, relid, "TABLE");
}

/* Iterate over the tables, from position 0; NULL after the last. */
TocEntry *
toc_next_table(const Toc *toc, int *position)
{
	while (*position < toc->entries.count)
	{
		TocEntry *entry = toc->entries.items[(*position)++];

		if (is(entry->desc, "TABLE"))
			return entry;
	}
	return NULL;
}

/* Whether an entry is a remark about another one: it goes when that goes. */
static bool
is_remark(const TocEntry *entry)
{
	return is(entry->desc, "COMMENT") || is(entry->desc, "ACL") ||
		   is(entry->desc, "SECURITY LABEL");
}

/* Whether an entry is what a publication publishes. */
static bool
is_membership(const TocEntry *entry)
{
	return is(entry->desc, "PUBLICATION TABLE") || is(entry->desc, "PUBLICATION TABLES IN SCHEMA");
}

/* Whether an entry by itself must not be in a snapshot. Publications of pairs are of this node and another. */
static bool
is_unwanted(const TocEntry *entry)
{
	if (is(entry->desc, "USER MAPPING") || is(entry->desc, "SUBSCRIPTION") ||
		is(entry->desc, "SUBSCRIPTION TABLE"))
		return true;
	if (is(entry->schema, STEEP_NAME))
		return true;
	if (is(entry->desc, "PUBLICATION"))
		return strncmp(entry->tag, "steep_", 6) == 0;
	if (is(entry->desc, "EXTENSION") || is(entry->desc, "SCHEMA"))
		return is(entry->tag, STEEP_NAME);
	if (is_remark(entry))
		return strncmp(entry->tag, "SUBSCRIPTION ", 13) == 0 ||
			   is(entry->tag, "EXTENSION " STEEP_NAME) || is(entry->tag, "SCHEMA " STEEP_NAME);
	return false;
}

/* Whether any dependency of an entry is in a set of dump ids. */
static bool
depends_on(const TocEntry *entry, HTAB *dump_ids)
{
	for (int i = 0; i < entry->ndependencies; i++)
	{
		if (hash_search(dump_ids, &entry->dependencies[i], HASH_FIND, NULL) != NULL)
			return true;
	}
	return false;
}

/* The dump ids of the entries that must go. */
static HTAB *
collect_unwanted(const TocEntries *entries)
{
	HTAB *unwanted =
		make_hash("steep_repl unwanted entries", CurrentMemoryContext, sizeof(int), sizeof(int));

	for (int i = 0; i < entries->count; i++)
	{
		if (is_unwanted(entries->items[i]))
			hash_search(unwanted, &entries->items[i]->dump_id, HASH_ENTER, NULL);
	}
	return unwanted;
}

/*
 * Drop what must not reach a disk or another database: user mappings and
 * subscriptions, which hold passwords, this extension's own objects, and what
 * makes a pair of this node and another.
 */
void
toc_remove_secrets(Toc *toc)
{
	HTAB *unwanted = collect_unwanted(&toc->entries);
	int kept = 0;

	for (int i = 0; i < toc->entries.count; i++)
	{
		TocEntry *entry = toc->entries.items[i];

		if (is_unwanted(entry) ||
			((is_remark(entry) || is_membership(entry)) && depends_on(entry, unwanted)))
			continue;
		toc->entries.items[kept++] = entry;
	}
	toc->entries.count = kept;
	hash_destroy(unwanted);
	toc_index_relations(toc);
}
