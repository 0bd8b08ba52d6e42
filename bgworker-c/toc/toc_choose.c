/*
 * toc_choose.c
 *	  Chooses tables of an archive by name, with their partitions and
 *	  inheritors and all that belongs to them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "toc/toc_choose.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* The relation that an entry depends on, and its position; NULL if that is none. */
const TocEntry *
get_relation(const Chooser *chooser, int dump_id, int *position)
{
	*position = toc_position(chooser->positions, dump_id);
	if (*position < 0 || !is_relation(chooser->toc->entries.items[*position]))
		return NULL;
	return chooser->toc->entries.items[*position];
}

static int
compare_names(const void *a, const void *b, void *arg)
{
	TocEntry **items = ((const Toc *) arg)->entries.items;
	const TocEntry *one = items[*(const int *) a];
	const TocEntry *other = items[*(const int *) b];
	int order = strcmp(one->tag, other->tag);

	return order != 0 ? order : strcmp(schema_of(one), schema_of(other));
}

/* Sort what can be named.  A table or sequence that an extension makes has nothing but data. */
static void
index_names(Chooser *chooser)
{
	const TocEntries *entries = &chooser->toc->entries;

	for (int i = 0; i < entries->count; i++)
	{
		if (is_relation(entries->items[i]) || is_kind(entries->items[i], "TABLE DATA") ||
			is_kind(entries->items[i], "SEQUENCE SET"))
			chooser->by_name[chooser->n_by_name++] = i;
	}
	qsort_arg(chooser->by_name, chooser->n_by_name, sizeof(int), compare_names,
			  unconstify(Toc *, chooser->toc));
}

/* The first index in by_name whose name is not less. */
static int
find_name(const Chooser *chooser, const char *schema, const char *tag)
{
	int low = 0;
	int high = chooser->n_by_name;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		const TocEntry *entry = chooser->toc->entries.items[chooser->by_name[middle]];
		int order = strcmp(entry->tag, tag);

		if (order == 0)
			order = strcmp(schema_of(entry), schema);
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Whether CREATE TABLE names a parent; its columns may use the parent's row type as well. */
static bool
inherits_from(const TocEntry *child, const TocEntry *parent)
{
	const char *list = child->defn != NULL ? strstr(child->defn, "\nINHERITS (") : NULL;
	const char *name;

	if (list == NULL)
		return false;
	name = quote_qualified_identifier(parent->schema, parent->tag);
	while ((list = strstr(list, name)) != NULL)
	{
		list += strlen(name);
		if (*list == ',' || *list == ')')
			return true;
	}
	return false;
}

/* Note whose partition or inheritor a table is. */
static void
index_parents(Chooser *chooser, int position)
{
	const TocEntry *entry = chooser->toc->entries.items[position];
	bool attach = is_kind(entry, "TABLE ATTACH");
	int child = position;

	if (!attach && !is_table(entry))
		return;
	/* an attachment has the partition's name */
	for (int i = 0; attach && i < entry->ndependencies; i++)
	{
		int at;
		const TocEntry *table = get_relation(chooser, entry->dependencies[i], &at);

		if (table != NULL && strcmp(table->tag, entry->tag) == 0 &&
			strcmp(schema_of(table), schema_of(entry)) == 0)
			child = at;
	}
	for (int i = 0; i < entry->ndependencies; i++)
	{
		int at;
		const TocEntry *parent = get_relation(chooser, entry->dependencies[i], &at);

		if (parent != NULL && at != child && is_table(parent) &&
			(attach || inherits_from(entry, parent)))
			chooser->children[at] = lappend_int(chooser->children[at], child);
	}
}

/* Choose an entry, and tables below it, however deep. */
static void
choose(Chooser *chooser, int position)
{
	List *pending = list_make1_int(position);

	while (pending != NIL)
	{
		int next = llast_int(pending);

		CHECK_FOR_INTERRUPTS();
		pending = list_delete_last(pending);
		if (chooser->chosen[next])
			continue;
		chooser->chosen[next] = true;
		pending = list_concat(pending, chooser->children[next]);
	}
}

/* Choose what has a name; false if nothing has. */
static bool
choose_named(Chooser *chooser, const RangeVar *table)
{
	const char *schema = table->schemaname != NULL ? table->schemaname : "";
	int first = find_name(chooser, schema, table->relname);
	int i;

	for (i = first; i < chooser->n_by_name; i++)
	{
		const TocEntry *entry = chooser->toc->entries.items[chooser->by_name[i]];

		if (strcmp(entry->tag, table->relname) != 0 || strcmp(schema_of(entry), schema) != 0)
			break;
		choose(chooser, chooser->by_name[i]);
	}
	return i > first;
}

/*
 * Which entries the named tables, views and sequences consist of, by position;
 * their comments, labels and rights are not among them.  Names that match
 * nothing are appended to missing.
 */
bool *
toc_choose(const Toc *toc, HTAB *positions, const List *tables, List **missing)
{
	Size count = Max(toc->entries.count, 1);
	int flags = MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO;
	Chooser chooser = {.toc = toc, .positions = positions};
	MemoryContext previous;
	MemoryContext work;

	chooser.chosen = palloc_extended(count * sizeof(bool), flags);
	work = AllocSetContextCreate(CurrentMemoryContext, "steep_repl choice of tables",
								 ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(work);
	chooser.by_name = palloc_extended(count * sizeof(int), flags);
	chooser.children = palloc_extended(count * sizeof(List *), flags);
	index_names(&chooser);
	for (int i = 0; i < toc->entries.count; i++)
		index_parents(&chooser, i);

	foreach_node (RangeVar, table, tables)
	{
		if (choose_named(&chooser, table))
			continue;
		MemoryContextSwitchTo(previous);
		*missing = lappend(*missing, table);
		MemoryContextSwitchTo(work);
	}
	choose_belongings(&chooser);
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(work);
	return chooser.chosen;
}
