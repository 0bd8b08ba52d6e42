/*
 * apply_draft.c
 *	  From the table of contents and the manifest to the plan that appliers
 *	  share. What an earlier attempt has done is left out of it.
 */
#include "apply/apply.h"

#include "catalog/pg_class_d.h"
#include "files/directory.h"
#include "storage/proc.h"
#include "utils/memutils.h"

/* Room for one more element of an array that doubles when full. */
void *
draft_grow(void *array, uint32 n, uint32 *capacity, Size size)
{
	if (n < *capacity)
		return array;
	*capacity = Max(*capacity * 2, 64);
	return array == NULL ? palloc_extended(*capacity * size, MCXT_ALLOC_HUGE)
						 : repalloc_huge(array, *capacity * size);
}

/* A new item of a step; the items of a step are added one after the other. */
ApplyItem *
draft_add_item(ApplyDraft *draft, ApplyStep step)
{
	StepState *state = &draft->header.steps[step];
	ApplyItem *item;

	draft->items = draft_grow(draft->items, draft->n_items, &draft->max_items, sizeof(ApplyItem));
	item = &draft->items[draft->n_items];
	memset(item, 0, sizeof(ApplyItem));
	item->entry = -1;
	item->part = MARK_WHOLE;
	if (state->n++ == 0)
		state->first = draft->n_items;
	draft->n_items++;
	return item;
}

void
draft_add_ref(ApplyDraft *draft, uint32 ref)
{
	draft->refs = draft_grow(draft->refs, draft->n_refs, &draft->max_refs, sizeof(uint32));
	draft->refs[draft->n_refs++] = ref;
}

/* Frames of a data file, for the item at hand. */
void
draft_add_frames(ApplyDraft *draft, const ManifestFrame *frames, int n)
{
	for (int i = 0; i < n; i++)
	{
		const ManifestFrame *from = &frames[i];
		ApplyFrame *to;

		draft->frames =
			draft_grow(draft->frames, draft->n_frames, &draft->max_frames, sizeof(ApplyFrame));
		to = &draft->frames[draft->n_frames++];
		to->offset = from->offset;
		to->rows = from->rows;
		to->raw_bytes = from->raw_bytes;
		to->stored_bytes = from->stored_bytes;
		memcpy(to->sha256, from->sha256, DIGEST_BYTES);
	}
}

/* One item for frames that belong together; returns how many they are. */
static int
add_load(ApplyDraft *draft, ApplyRun *apply, uint32 table, const ManifestFile *file, int first)
{
	int dump_id = draft->tables[table].dump_id;
	uint64 raw_bytes = 0;
	int n = 0;
	ApplyItem *item;

	while (first + n < file->nframes && (n == 0 || raw_bytes < LOAD_BYTES))
		raw_bytes += file->frames[first + n++].raw_bytes;
	if (apply_marks_have(apply->done, dump_id, file->frames[first].offset))
		return n;

	item = draft_add_item(draft, STEP_LOAD);
	item->entry = draft->tables[table].entry;
	item->dump_id = dump_id;
	item->part = file->frames[first].offset;
	item->table = table;
	item->first_frame = draft->n_frames;
	item->n_frames = n;
	pg_atomic_fetch_add_u32(&draft->tables[table].items_left, 1);
	draft_add_frames(draft, file->frames + first, n);
	return n;
}

static void
add_table(ApplyDraft *draft, ApplyRun *apply, const TargetTable *target)
{
	ApplyTable *table = &draft->tables[draft->n_tables];

	table->entry = target->entry;
	table->dump_id = apply->toc->entries.items[target->entry]->dump_id;
	table->stored_bytes = target->file->stored_bytes;
	pg_atomic_init_u32(&table->items_left, 0);
	pg_atomic_init_u32(&table->moves, 0);
	for (int frame = 0; frame < target->file->nframes;)
		frame += add_load(draft, apply, draft->n_tables, target->file, frame);
	draft->n_tables++;
}

/* Tables by level; those of a level wait for all loads of the lower ones. */
static void
draft_loads(ApplyDraft *draft, ApplyRun *apply)
{
	uint32 last_level = 0;

	draft->tables = palloc_extended((apply->n_targets + 1) * sizeof(ApplyTable), MCXT_ALLOC_HUGE);
	for (int i = 0; i < apply->n_targets; i++)
		last_level = Max(last_level, apply->targets[i].level);
	for (uint32 level = 0; level <= last_level; level++)
	{
		uint32 before = draft->header.steps[STEP_LOAD].n;
		uint32 first = draft->n_items;

		for (int i = 0; i < apply->n_targets; i++)
			if (apply->targets[i].level == level)
				add_table(draft, apply, &apply->targets[i]);
		for (uint32 item = first; item < draft->n_items; item++)
			draft->items[item].after = before;
	}
}

/* The entries of a stage, each as an item; in their order, where that counts. */
static void
draft_entries(ApplyDraft *draft, ApplyRun *apply, ApplyStage stage, ApplyStep step, bool serial)
{
	for (int i = 0; i < apply->toc->entries.count; i++)
	{
		const TocEntry *entry = apply->toc->entries.items[i];
		ApplyItem *item;

		if (apply->stages[i] != stage || apply_marks_have(apply->done, entry->dump_id, MARK_WHOLE))
			continue;
		item = draft_add_item(draft, step);
		item->entry = i;
		item->dump_id = entry->dump_id;
		if (serial)
			item->after = draft->header.steps[step].n - 1;
	}
}

/* Statistics for what was loaded, and for the roots of partitioned tables. */
static void
draft_analyze(ApplyDraft *draft, ApplyRun *apply)
{
	for (uint32 i = 0; i < draft->n_tables; i++)
		draft_add_item(draft, STEP_ANALYZE)->entry = draft->tables[i].entry;
	for (int i = 0; apply->n_targets > 0 && i < apply->toc->entries.count; i++)
		if (apply->stages[i] == STAGE_PRE_DATA &&
			apply->toc->entries.items[i]->relkind == RELKIND_PARTITIONED_TABLE)
			draft_add_item(draft, STEP_ANALYZE)->entry = i;
}

static void
draft_steps(ApplyDraft *draft, ApplyRun *apply)
{
	if (apply->truncate && apply->n_targets > 0 &&
		!apply_marks_have(apply->done, MARK_TRUNCATE, MARK_WHOLE))
		draft_add_item(draft, STEP_TRUNCATE)->dump_id = MARK_TRUNCATE;
	draft_entries(draft, apply, STAGE_PRE_DATA, STEP_PRE_DATA, true);
	draft_entries(draft, apply, STAGE_LARGE_OBJECTS, STEP_LARGE_OBJECTS, true);
	draft_loads(draft, apply);
	apply_draft_objects(draft, apply);
	draft_entries(draft, apply, STAGE_SEQUENCES, STEP_SEQUENCES, false);
	apply_draft_graph(draft, apply);
	draft_entries(draft, apply, STAGE_RIGHTS, STEP_RIGHTS, true);
	draft_entries(draft, apply, STAGE_LAST, STEP_LAST, true);
	draft_analyze(draft, apply);
}

/* Copy an array into the segment; returns its offset. */
static Size
lay_out(char *segment, Size *end, const void *array, Size bytes)
{
	Size offset = MAXALIGN(*end);

	if (segment != NULL && bytes > 0)
		memcpy(segment + offset, array, bytes);
	*end = offset + bytes;
	return offset;
}

static Size
lay_out_all(ApplyDraft *draft, char *segment)
{
	ApplyPlan *plan = &draft->header;
	Size end = sizeof(ApplyPlan);

	plan->tables = lay_out(segment, &end, draft->tables, draft->n_tables * sizeof(ApplyTable));
	plan->objects = lay_out(segment, &end, draft->objects, draft->n_objects * sizeof(ApplyObject));
	plan->items = lay_out(segment, &end, draft->items, draft->n_items * sizeof(ApplyItem));
	plan->refs = lay_out(segment, &end, draft->refs, draft->n_refs * sizeof(uint32));
	plan->frames = lay_out(segment, &end, draft->frames, draft->n_frames * sizeof(ApplyFrame));
	return end;
}

/* What appliers need to read the archive by themselves. */
static void
fill_header(ApplyPlan *header, ApplyRun *apply)
{
	const ManifestFile *toc = apply_find_file(apply->files, TOC_FILE);

	header->codec = apply->codec;
	header->encoding = apply->encoding;
	header->no_owner = apply->no_owner;
	header->into_existing = !apply->selection.pre_data;
	header->truncate = apply->truncate;
	header->replicate = apply->replicate;
	header->origin = apply->origin;
	header->origin_pid = apply->origin_pid;
	header->toc_bytes = toc->stored_bytes;
	memcpy(header->toc_sha256, toc->frames[0].sha256, DIGEST_BYTES);
	for (int i = 0; i < STEEP_MAX_COPIERS; i++)
		header->running[i] = -1;
}

/* Make the plan and share it. */
void
apply_make_plan(JobRun *run)
{
	ApplyRun *apply = run->apply;
	ApplyDraft *draft = palloc0_object(ApplyDraft);
	dsm_segment *segment;

	fill_header(&draft->header, apply);
	draft_steps(draft, apply);
	draft->header.n_tables = draft->n_tables;
	draft->header.n_items = draft->n_items;

	segment = dsm_create(lay_out_all(draft, NULL), 0);
	dsm_pin_mapping(segment);
	apply->plan = dsm_segment_address(segment);
	(void) lay_out_all(draft, (char *) apply->plan);
	memcpy(apply->plan, &draft->header, sizeof(ApplyPlan));
	LWLockInitialize(&apply->plan->lock, steep_shared->lock->tranche);
	ConditionVariableInit(&apply->plan->changed);
	run->job->plan = dsm_segment_handle(segment);
}
