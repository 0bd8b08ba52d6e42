/*
 * snapshot_objects.c
 *	  The large objects of a snapshot, in batches as pg_dump makes them: from
 *	  the planner's query to the plan and the table of contents.
 */
#include "snapshot/snapshot_plan.h"

#include "jobs/planned_sql.h"
#include "miscadmin.h"

/* What may be said of large objects. */
static bool
is_known(const char *desc)
{
	return strcmp(desc, "BLOB METADATA") == 0 || strcmp(desc, "ACL") == 0 ||
		   strcmp(desc, "COMMENT") == 0 || strcmp(desc, "SECURITY LABEL") == 0;
}

/* Read what the planner's query found: (kind, tag, text, owner), each batch before what belongs to it. */
void
snapshot_read_objects(SnapshotRun *snapshot, uint64 n)
{
	snapshot->object_entries = NIL;
	for (uint64 i = 0; i < n; i++)
	{
		LargeObjectEntry *entry = palloc0_object(LargeObjectEntry);

		CHECK_FOR_INTERRUPTS();
		entry->desc = planned_text(i, 1);
		entry->tag = planned_text(i, 2);
		entry->defn = planned_text(i, 3);
		entry->owner = planned_text(i, 4);
		if (!is_known(entry->desc) || (i == 0 && strcmp(entry->desc, "BLOB METADATA") != 0))
			wrong_answer("query \"large_objects\" finds a %s", entry->desc);
		snapshot->object_entries = lappend(snapshot->object_entries, entry);
	}
}

/* Give a batch its entries; what is said after it belongs to it. */
static TocEntry *
add_batch(SnapshotRun *snapshot, const LargeObjectEntry *entry)
{
	TocEntry *metadata =
		toc_add_large_objects(snapshot->toc, entry->tag, entry->defn, entry->owner);
	SourceTable *batch = &snapshot->batches[snapshot->n_batches++];

	batch->dump_id = metadata->dump_id + 1;
	batch->schema = "";
	batch->name = psprintf("large objects %s", entry->tag);
	batch->objects = toc_large_objects(metadata, &batch->n_objects);
	if (batch->n_objects == 0)
		wrong_answer("a batch of large objects has none");
	return metadata;
}

/* Give large objects their entries in the table of contents. */
void
snapshot_add_objects(SnapshotRun *snapshot)
{
	TocEntry *metadata = NULL;
	ListCell *lc;

	snapshot->batches = palloc0_array(SourceTable, list_length(snapshot->object_entries) + 1);
	foreach (lc, snapshot->object_entries)
	{
		const LargeObjectEntry *entry = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (strcmp(entry->desc, "BLOB METADATA") == 0)
			metadata = add_batch(snapshot, entry);
		else
			toc_add_remark(snapshot->toc, metadata, entry->desc, entry->tag, entry->defn);
	}
}

/* The plan over tables and batches. */
SnapshotPlan *
snapshot_make_plan(SnapshotRun *snapshot, dsm_handle *handle)
{
	uint32 n = snapshot->n_tables + snapshot->n_batches;
	SourceTable *all = palloc_extended((n + 1) * sizeof(SourceTable), MCXT_ALLOC_HUGE);
	SnapshotPlan *plan;

	memcpy(all, snapshot->tables, snapshot->n_tables * sizeof(SourceTable));
	memcpy(all + snapshot->n_tables, snapshot->batches, snapshot->n_batches * sizeof(SourceTable));
	plan = plan_create(all, n, snapshot->codec, snapshot->level, handle);
	pfree(all);
	return plan;
}

/* What pg_restore finds the files of a batch by. */
char *
snapshot_list_objects(const SourceTable *batch)
{
	StringInfoData list;

	initStringInfo(&list);
	for (uint32 i = 0; i < batch->n_objects; i++)
		appendStringInfo(&list, "%u blob_%u.dat\n", batch->objects[i], batch->objects[i]);
	return list.data;
}
