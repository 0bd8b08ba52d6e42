/*
 * toc_add.c
 *	  What a snapshot adds to pg_dump's table of contents: the tables' data and
 *	  the refreshes of materialized views.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "toc/toc.h"
#include "utils/builtins.h"

/* A dump id that no entry has. */
static int
next_dump_id(Toc *toc)
{
	if (toc->max_dump_id == PG_INT32_MAX)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("archive's table of contents has no entry number left")));
	return ++toc->max_dump_id;
}

/* A new entry, not yet in any list. */
TocEntry *
toc_make_entry(Toc *toc, const char *desc, TocSection section, Oid oid)
{
	TocEntry *entry = palloc0_object(TocEntry);

	entry->dump_id = next_dump_id(toc);
	entry->catalog_oid = oid;
	entry->desc = pstrdup(desc);
	entry->section = section;
	return entry;
}

/* Record what an entry depends on. */
static void
set_dependencies(TocEntry *entry, int ndependencies, int first, int second)
{
	entry->dependencies = palloc_array(int, 2);
	entry->dependencies[0] = first;
	entry->dependencies[1] = second;
	entry->ndependencies = ndependencies;
}

/* The statement that loads a table's data. */
static char *
copy_statement(const TocTableData *spec, const char *target)
{
	StringInfoData statement;

	initStringInfo(&statement);
	appendStringInfo(&statement, "COPY %s ", target);
	for (int i = 0; i < spec->ncolumns; i++)
		appendStringInfo(&statement, "%s%s", i == 0 ? "(" : ", ",
						 quote_identifier(spec->columns[i]));
	appendStringInfo(&statement, "%s FROM stdin;\n", spec->ncolumns > 0 ? ")" : "");
	return statement.data;
}

/*
 * pg_restore takes a TABLE DATA entry's first dependency for its table.  A
 * table that an extension creates has no entry; there pg_dump names a number
 * that nothing has, and so do we.
 */
static int
table_dump_id(Toc *toc, const TocTableData *spec)
{
	TocEntry *table = toc_find_table(toc, spec->relid);

	if (table != NULL)
		return table->dump_id;
	if (spec->extension_member)
		return next_dump_id(toc);
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("pg_dump's archive has no table \"%s.%s\"", spec->schema, spec->table)));
}

/* pg_restore tells by this comment that the rows may lie in other partitions. */
#define VIA_ROOT "-- load via partition root "

/* Whether the rows of a TABLE DATA entry are to be loaded through the partition root. */
bool
toc_loads_via_root(const TocEntry *entry)
{
	return entry->defn != NULL && strncmp(entry->defn, VIA_ROOT, strlen(VIA_ROOT)) == 0;
}

static char *
load_via_root_comment(const char *root)
{
	char *comment = psprintf(VIA_ROOT "%s", root);

	for (char *c = comment; *c != '\0'; c++)
	{
		if (*c == '\n' || *c == '\r')
			*c = ' ';
	}
	return comment;
}

/* Add the entry for a table's data; its data file is named in the result. */
TocEntry *
toc_add_table_data(Toc *toc, const TocTableData *spec)
{
	MemoryContext previous = MemoryContextSwitchTo(toc->context);
	int table = table_dump_id(toc, spec);
	TocEntry *entry = toc_make_entry(toc, "TABLE DATA", TOC_DATA, spec->relid);
	bool via_root = spec->root_table != NULL;
	char *target = quote_qualified_identifier(via_root ? spec->root_schema : spec->schema,
											  via_root ? spec->root_table : spec->table);

	entry->had_dumper = true;
	entry->tag = pstrdup(spec->table);
	entry->schema = pstrdup(spec->schema);
	entry->owner = pstrdup(spec->owner);
	entry->defn = via_root ? load_via_root_comment(target) : NULL;
	entry->copy_stmt = copy_statement(spec, target);
	entry->filename = psprintf("%d.dat", entry->dump_id);
	set_dependencies(entry, 1, table, 0);
	toc_append(toc, &toc->table_data, entry);
	MemoryContextSwitchTo(previous);
	return entry;
}

/*
 * Add the statement that fills a materialized view.  Each refresh depends on
 * the one added before, so the caller's order holds in a parallel restore too.
 */
TocEntry *
toc_add_matview_refresh(Toc *toc, Oid relid)
{
	TocEntry *view = toc_find_relation(toc, relid, "MATERIALIZED VIEW");
	MemoryContext previous = MemoryContextSwitchTo(toc->context);
	TocEntry *entry;
	int before = 0;

	if (view == NULL)
		elog(ERROR, "the archive has no materialized view with OID %u", relid);
	if (toc->refreshes.count > 0)
		before = toc->refreshes.items[toc->refreshes.count - 1]->dump_id;

	entry = toc_make_entry(toc, "MATERIALIZED VIEW DATA", TOC_POST_DATA, relid);
	entry->tag = view->tag;
	entry->schema = view->schema;
	entry->owner = view->owner;
	entry->defn = psprintf("REFRESH MATERIALIZED VIEW %s;\n",
						   quote_qualified_identifier(view->schema, view->tag));
	set_dependencies(entry, before != 0 ? 2 : 1, view->dump_id, before);
	toc_append(toc, &toc->refreshes, entry);
	MemoryContextSwitchTo(previous);
	return entry;
}
