/*
 * apply_tables.c
 *	  The tables that an apply loads, by the archive and its manifest.
 */
#include "apply/apply.h"

#include "miscadmin.h"
#include "utils/builtins.h"

/* Frames must cover the file without gap or overlap, or rows would be lost. */
void
apply_check_frames(const ManifestFile *file)
{
	uint64 end = 0;
	uint64 rows = 0;
	int n = 0;

	while (n < file->nframes && file->frames[n].offset == end)
	{
		end += file->frames[n].stored_bytes;
		rows += file->frames[n].rows;
		n++;
	}
	if (n < file->nframes || end != file->stored_bytes || rows != file->rows)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("the manifest's frames do not cover file \"%s\"", file->name)));
}

static int
by_size_descending(const void *a, const void *b)
{
	const TargetTable *x = a;
	const TargetTable *y = b;

	if (x->file->raw_bytes != y->file->raw_bytes)
		return x->file->raw_bytes > y->file->raw_bytes ? -1 : 1;
	return x->entry - y->entry;
}

/* Whether an earlier attempt has loaded some of the table. */
static bool
has_begun(ApplyRun *apply, const TargetTable *target)
{
	int dump_id = apply->toc->entries.items[target->entry]->dump_id;

	for (int i = 0; i < target->file->nframes; i++)
		if (apply_marks_have(apply->done, dump_id, target->file->frames[i].offset))
			return true;
	return false;
}

/* The dump ids of the tables that the archive makes itself. */
static HTAB *
collect_tables(const TocEntries *entries)
{
	HASHCTL ctl = {.keysize = sizeof(int), .entrysize = sizeof(int)};
	HTAB *tables;

	ctl.hcxt = CurrentMemoryContext;
	tables = hash_create("steep_repl tables", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < entries->count; i++)
		if (strcmp(entries->items[i]->desc, "TABLE") == 0)
			hash_search(tables, &entries->items[i]->dump_id, HASH_ENTER, NULL);
	return tables;
}

/* The tables whose data is to be loaded, large ones first. */
void
apply_list_targets(ApplyRun *apply)
{
	TocEntries *entries = &apply->toc->entries;
	HTAB *tables = collect_tables(entries);

	apply->targets = palloc_extended((entries->count + 1) * sizeof(TargetTable), MCXT_ALLOC_HUGE);
	for (int i = 0; i < entries->count; i++)
	{
		const TocEntry *entry = entries->items[i];
		TargetTable *target = &apply->targets[apply->n_targets];

		CHECK_FOR_INTERRUPTS();
		if (apply->stages[i] != STAGE_DATA)
			continue;
		if (entry->filename == NULL || entry->copy_stmt == NULL || entry->schema == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the archive does not say where the data of \"%s\" is", entry->tag)));
		target->entry = i;
		target->file = apply_find_file(
			apply->files, psprintf("%s%s", entry->filename, codec_suffix(apply->codec)));
		target->name = quote_qualified_identifier(entry->schema, entry->tag);
		target->level = 0;
		target->in_extension =
			entry->ndependencies > 0 &&
			hash_search(tables, &entry->dependencies[0], HASH_FIND, NULL) == NULL;
		apply_check_frames(target->file);
		target->begun = has_begun(apply, target);
		apply->n_targets++;
	}
	qsort(apply->targets, apply->n_targets, sizeof(TargetTable), by_size_descending);
}
