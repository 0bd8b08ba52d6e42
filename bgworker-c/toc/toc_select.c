/*
 * toc_select.c
 *	  Which entries of an archive are applied, and when.
 *
 * The stages are pg_restore's passes: rights wait until all objects are there,
 * event triggers and refreshes for the rights.  What pg_restore does first, in
 * the archive's order, is cut at the sections, so that tables can be loaded in
 * parallel.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "toc/toc_select.h"
#include "utils/hsearch.h"

typedef struct TocPosition
{
	int dump_id; /* the key */
	int position;
} TocPosition;

static bool
is_kind(const TocEntry *entry, const char *desc)
{
	return strcmp(entry->desc, desc) == 0;
}

/* Where in the archive the entries are, by dump id. */
static HTAB *
index_entries(const Toc *toc)
{
	HASHCTL ctl = {
		.keysize = sizeof(int),
		.entrysize = sizeof(TocPosition),
		.hcxt = CurrentMemoryContext,
	};
	HTAB *positions = hash_create("steep_repl toc positions", Max(toc->entries.count, 1), &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	for (int i = 0; i < toc->entries.count; i++)
	{
		TocPosition *found =
			hash_search(positions, &toc->entries.items[i]->dump_id, HASH_ENTER, NULL);

		found->position = i;
	}
	return positions;
}

/* Where an entry is; -1 if the archive has it not. */
int
toc_position(HTAB *positions, int dump_id)
{
	TocPosition *found = hash_search(positions, &dump_id, HASH_FIND, NULL);

	return found != NULL ? found->position : -1;
}

/*
 * Kinds that the target has or does without: a database of its own, its
 * encoding, and planner statistics, which ANALYZE makes from the rows.  BLOB is
 * of archives before version 1.16.
 */
static bool
is_never_applied(const TocEntry *entry)
{
	return is_kind(entry, "DATABASE") || is_kind(entry, "DATABASE PROPERTIES") ||
		   is_kind(entry, "ENCODING") || is_kind(entry, "STDSTRINGS") ||
		   is_kind(entry, "SEARCHPATH") || is_kind(entry, "STATISTICS DATA") ||
		   is_kind(entry, "BLOB");
}

static bool
is_right(const TocEntry *entry)
{
	return is_kind(entry, "ACL") || is_kind(entry, "ACL LANGUAGE") || is_kind(entry, "DEFAULT ACL");
}

/* The stage of an entry of section data. */
static ApplyStage
data_stage(const TocEntry *entry)
{
	static const struct
	{
		const char *desc;
		ApplyStage stage;
	} stages[] = {
		{"BLOB METADATA", STAGE_LARGE_OBJECTS},
		{"BLOBS", STAGE_OBJECT_DATA},
		{"TABLE DATA", STAGE_DATA},
		{"SEQUENCE SET", STAGE_SEQUENCES},
		{"ACL", STAGE_RIGHTS},
	};

	for (int i = 0; i < (int) lengthof(stages); i++)
		if (is_kind(entry, stages[i].desc))
			return stages[i].stage;
	return STAGE_SKIP;
}

/* The stage of an entry that belongs to a section, if that is wanted. */
static ApplyStage
stage_in_section(const TocEntry *entry, TocSection section, const TocSelection *selection)
{
	bool post_data = section == TOC_POST_DATA;

	if (is_never_applied(entry) || (is_right(entry) && selection->no_privileges))
		return STAGE_SKIP;
	if (section == TOC_DATA)
		return selection->data ? data_stage(entry) : STAGE_SKIP;
	if (post_data ? !selection->post_data : !selection->pre_data)
		return STAGE_SKIP;
	if (is_right(entry))
		return STAGE_RIGHTS;
	/* a refresh may need any function and index; an event trigger would see everything */
	if (is_kind(entry, "MATERIALIZED VIEW DATA") || is_kind(entry, "EVENT TRIGGER"))
		return STAGE_LAST;
	return post_data ? STAGE_POST_DATA : STAGE_PRE_DATA;
}

/*
 * Whether an entry of pre-data has to wait for post-data.  pg_dump sometimes
 * moves a materialized view behind the key that it depends on, and leaves a
 * function that reads the view where it was.
 */
static bool
needs_post_data(const TocEntry *entry, HTAB *positions, const ApplyStage *stages)
{
	for (int i = 0; i < entry->ndependencies; i++)
	{
		int position = toc_position(positions, entry->dependencies[i]);

		if (position >= 0 && stages[position] == STAGE_POST_DATA)
			return true;
	}
	return false;
}

/* Give the objects their stages; what one depends on stands before it. */
static void
select_objects(const Toc *toc, HTAB *positions, const TocSelection *selection, const bool *chosen,
			   ApplyStage *stages)
{
	for (int i = 0; i < toc->entries.count; i++)
	{
		const TocEntry *entry = toc->entries.items[i];

		CHECK_FOR_INTERRUPTS();
		if (entry->section == TOC_NONE || (chosen != NULL && !chosen[i]))
			continue;
		stages[i] = stage_in_section(entry, entry->section, selection);
		if (stages[i] == STAGE_PRE_DATA && needs_post_data(entry, positions, stages))
			stages[i] = STAGE_POST_DATA;
	}
}

/* The entry that a comment, label or right is about; -1 if the archive has it not. */
static int
find_object(const Toc *toc, HTAB *positions, const TocEntry *remark)
{
	for (int i = 0; i < remark->ndependencies; i++)
	{
		int position = toc_position(positions, remark->dependencies[i]);

		/* a column's rights depend on the table's rights, too */
		if (position >= 0 && toc->entries.items[position]->section != TOC_NONE)
			return position;
	}
	return -1;
}

/*
 * The stage of a comment, label or right: it goes with its object.  Where the
 * archive lacks that, as with the members of an extension, the section is that
 * of the entries around.
 */
static ApplyStage
stage_of_remark(const TocEntry *entry, const TocEntry *object, ApplyStage object_stage,
				TocSection around, const TocSelection *selection)
{
	TocSection section = object != NULL ? object->section : around;

	if (object == NULL && selection->tables != NIL)
		return STAGE_SKIP;
	if (object != NULL && object_stage == STAGE_SKIP)
		return STAGE_SKIP;
	if (strncmp(entry->tag, "DATABASE ", 9) == 0)
		return STAGE_SKIP;
	if (object != NULL && !is_right(entry))
		return object_stage;
	return stage_in_section(entry, section, selection);
}

/* Give all comments, labels and rights their stages, once their objects have theirs. */
static void
select_remarks(const Toc *toc, HTAB *positions, const TocSelection *selection, ApplyStage *stages)
{
	TocSection around = TOC_PRE_DATA;

	for (int i = 0; i < toc->entries.count; i++)
	{
		const TocEntry *entry = toc->entries.items[i];
		int object;

		if (entry->section != TOC_NONE)
		{
			around = entry->section;
			continue;
		}
		object = find_object(toc, positions, entry);
		stages[i] = stage_of_remark(entry, object >= 0 ? toc->entries.items[object] : NULL,
									object >= 0 ? stages[object] : STAGE_SKIP, around, selection);
	}
}

/*
 * The stage of each entry, in the archive's order.  Tables that the archive
 * does not have are returned in missing.
 */
ApplyStage *
toc_select(const Toc *toc, const TocSelection *selection, List **missing)
{
	ApplyStage *stages = MemoryContextAllocExtended(CurrentMemoryContext,
													Max(toc->entries.count, 1) * sizeof(ApplyStage),
													MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	HTAB *positions = index_entries(toc);
	bool *chosen = NULL;

	*missing = NIL;
	if (selection->tables != NIL)
		chosen = toc_choose(toc, positions, selection->tables, missing);
	select_objects(toc, positions, selection, chosen, stages);
	select_remarks(toc, positions, selection, stages);

	if (chosen != NULL)
		pfree(chosen);
	hash_destroy(positions);
	return stages;
}

/*
 * Whether a post-data entry takes a lock on a table that it depends on which
 * an index build or another such entry would have to wait for.  Two that hold
 * one lock and want the other's would be a deadlock.
 */
bool
toc_entry_locks_exclusively(const TocEntry *entry)
{
	static const char *const kinds[] = {
		"CHECK CONSTRAINT",  "CONSTRAINT",   "FK CONSTRAINT", "INDEX ATTACH", "POLICY",
		"PUBLICATION TABLE", "ROW SECURITY", "RULE",          "STATISTICS",   "TRIGGER",
	};

	if (entry->section != TOC_POST_DATA)
		return false;
	/* CREATE INDEX alone shares; CLUSTER ON or REPLICA IDENTITY after it does not */
	if (is_kind(entry, "INDEX"))
		return entry->defn != NULL && strstr(entry->defn, "\nALTER TABLE ") != NULL;
	for (int i = 0; i < (int) lengthof(kinds); i++)
	{
		if (is_kind(entry, kinds[i]))
			return true;
	}
	return false;
}
