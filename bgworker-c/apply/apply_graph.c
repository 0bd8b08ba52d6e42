/*
 * apply_graph.c
 *	  The post-data step: indexes, constraints, triggers and the like, each
 *	  with what it needs and which tables it locks.
 *
 * An entry names the objects that it depends on, tables among them. One that
 * names no table itself (a comment on a constraint, an index to be attached)
 * locks those of the entries that it needs. One that locks many tables runs
 * alone: to compare them with those of all others would take longer, and in a
 * chain of entries that each add a table, all memory.
 */
#include "apply/apply.h"

#include "miscadmin.h"

/* One that locks more tables than this runs alone. */
#define MAX_LOCKED_TABLES 32

/* What is known of an entry of the archive, by its dump id. */
typedef struct GraphNode
{
	int dump_id; /* the key */
	bool is_table;
	int item;         /* of the plan, or -1 */
	List *tables;     /* dump ids that it locks */
	bool alone;       /* they are too many to be listed */
	uint64 raw_bytes; /* of a table's data */
} GraphNode;

typedef struct Candidate
{
	int entry;
	bool is_foreign_key;
	uint64 raw_bytes; /* of its largest table */
	GraphNode *node;
} Candidate;

static GraphNode *
get_node(HTAB *nodes, int dump_id)
{
	bool found;
	GraphNode *node = hash_search(nodes, &dump_id, HASH_ENTER, &found);

	if (!found)
	{
		memset(node, 0, sizeof(GraphNode));
		node->dump_id = dump_id;
		node->item = -1;
	}
	return node;
}

/* Tables, and how much data each has. */
static HTAB *
collect_tables(ApplyRun *apply)
{
	HASHCTL ctl = {.keysize = sizeof(int), .entrysize = sizeof(GraphNode)};
	HTAB *nodes;

	ctl.hcxt = CurrentMemoryContext;
	nodes =
		hash_create("steep_repl apply graph", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < apply->toc->entries.count; i++)
	{
		const TocEntry *entry = apply->toc->entries.items[i];

		if (strcmp(entry->desc, "TABLE") == 0 || strcmp(entry->desc, "MATERIALIZED VIEW") == 0)
			get_node(nodes, entry->dump_id)->is_table = true;
		else if (strcmp(entry->desc, "TABLE DATA") == 0 && entry->ndependencies > 0 &&
				 entry->filename != NULL)
			get_node(nodes, entry->dependencies[0])->raw_bytes =
				apply_find_file(apply->files,
								psprintf("%s%s", entry->filename, codec_suffix(apply->codec)))
					->raw_bytes;
	}
	return nodes;
}

/* Which tables an entry locks; those before it in the archive are known. */
static void
find_tables(HTAB *nodes, const TocEntry *entry, Candidate *candidate)
{
	GraphNode *node = candidate->node;
	ListCell *lc;

	for (int i = 0; i < entry->ndependencies && !node->alone; i++)
	{
		GraphNode *needed = get_node(nodes, entry->dependencies[i]);

		if (needed->is_table)
			node->tables = list_append_unique_int(node->tables, needed->dump_id);
		else
			node->tables = list_concat_unique_int(node->tables, needed->tables);
		node->alone = needed->alone || list_length(node->tables) > MAX_LOCKED_TABLES;
	}
	foreach (lc, node->tables)
		candidate->raw_bytes =
			Max(candidate->raw_bytes, get_node(nodes, lfirst_int(lc))->raw_bytes);
	if (node->alone)
	{
		list_free(node->tables);
		node->tables = NIL;
	}
}

/* Foreign keys last: they need indexes, and read two tables. Else large tables first. */
static int
by_priority(const void *a, const void *b)
{
	const Candidate *x = a;
	const Candidate *y = b;

	if (x->is_foreign_key != y->is_foreign_key)
		return x->is_foreign_key ? 1 : -1;
	if (x->raw_bytes != y->raw_bytes)
		return x->raw_bytes > y->raw_bytes ? -1 : 1;
	return x->entry - y->entry;
}

static int
list_candidates(ApplyRun *apply, HTAB *nodes, Candidate *candidates)
{
	int n = 0;

	for (int i = 0; i < apply->toc->entries.count; i++)
	{
		const TocEntry *entry = apply->toc->entries.items[i];
		Candidate *candidate = &candidates[n];

		CHECK_FOR_INTERRUPTS();
		if (apply->stages[i] != STAGE_POST_DATA)
			continue;
		memset(candidate, 0, sizeof(Candidate));
		candidate->entry = i;
		candidate->is_foreign_key = strcmp(entry->desc, "FK CONSTRAINT") == 0;
		candidate->node = get_node(nodes, entry->dump_id);
		find_tables(nodes, entry, candidate);
		if (!apply_marks_have(apply->done, entry->dump_id, MARK_WHOLE))
			n++;
	}
	return n;
}

/* What an item waits for and locks, once all items have their numbers. */
static void
add_refs(ApplyDraft *draft, HTAB *nodes, const TocEntry *entry, const GraphNode *node)
{
	ApplyItem *item = &draft->items[node->item];
	ListCell *lc;

	item->first_needed = draft->n_refs;
	for (int i = 0; i < entry->ndependencies; i++)
	{
		int needed = get_node(nodes, entry->dependencies[i])->item;

		if (needed >= 0 && needed != node->item)
			draft_add_ref(draft, needed);
	}
	item->n_needed = draft->n_refs - item->first_needed;
	item->first_locked = draft->n_refs;
	foreach (lc, node->tables)
		draft_add_ref(draft, lfirst_int(lc));
	item->n_locked = draft->n_refs - item->first_locked;
}

/* Add the items of the post-data step. */
void
apply_draft_graph(ApplyDraft *draft, ApplyRun *apply)
{
	HTAB *nodes = collect_tables(apply);
	Candidate *candidates =
		palloc_extended((apply->toc->entries.count + 1) * sizeof(Candidate), MCXT_ALLOC_HUGE);
	int n = list_candidates(apply, nodes, candidates);

	qsort(candidates, n, sizeof(Candidate), by_priority);
	for (int i = 0; i < n; i++)
	{
		const TocEntry *entry = apply->toc->entries.items[candidates[i].entry];
		ApplyItem *item = draft_add_item(draft, STEP_POST_DATA);

		item->entry = candidates[i].entry;
		item->dump_id = entry->dump_id;
		item->exclusive = toc_entry_locks_exclusively(entry);
		item->alone = candidates[i].node->alone;
		candidates[i].node->item = draft->n_items - 1;
	}
	for (int i = 0; i < n; i++)
		add_refs(draft, nodes, apply->toc->entries.items[candidates[i].entry], candidates[i].node);
	pfree(candidates);
}
