/*
 * apply_objects.c
 *	  The large objects that an apply fills, in the plan.
 *
 * An item is several small objects, or some frames of a large one: workers may
 * fill parts of an object at the same time.
 */
#include "apply/apply.h"

#include "miscadmin.h"

/* No transaction locks more objects, however small they are. */
#define MAX_OBJECTS 1000

/* How an item is marked as done: its first object, and which of its frames. */
static int64
part_of(Oid object, int first_frame)
{
	return (int64) first_frame << 32 | object;
}

/* An item being gathered; it is left out if it was done before. */
typedef struct Gathering
{
	ApplyDraft *draft;
	ApplyRun *apply;
	int entry;
	ApplyItem *item; /* or NULL, before the first object and after a full item */
	bool done;
	uint64 raw_bytes;
	uint32 n;
} Gathering;

static void
begin_item(Gathering *gathering, Oid object, int first_frame)
{
	ApplyDraft *draft = gathering->draft;
	int dump_id = gathering->apply->toc->entries.items[gathering->entry]->dump_id;
	int64 part = part_of(object, first_frame);

	gathering->raw_bytes = 0;
	gathering->n = 0;
	gathering->done = apply_marks_have(gathering->apply->done, dump_id, part);
	if (gathering->done)
		return;
	gathering->item = draft_add_item(draft, STEP_LOAD);
	gathering->item->entry = gathering->entry;
	gathering->item->dump_id = dump_id;
	gathering->item->part = part;
	gathering->item->first_object = draft->n_objects;
	gathering->item->first_frame = draft->n_frames;
}

/* Add frames of an object to the item at hand. */
static void
add_piece(Gathering *gathering, Oid object, const ManifestFile *file, int first, int n,
		  uint64 offset)
{
	ApplyDraft *draft = gathering->draft;
	ApplyObject *piece;

	if (gathering->done)
		return;
	draft->objects =
		draft_grow(draft->objects, draft->n_objects, &draft->max_objects, sizeof(ApplyObject));
	piece = &draft->objects[draft->n_objects++];
	piece->object = object;
	piece->first_frame = draft->n_frames;
	piece->n_frames = n;
	piece->offset = offset;
	piece->stored_bytes = file->stored_bytes;
	draft_add_frames(draft, file->frames + first, n);
	gathering->item->n_objects++;
	gathering->item->n_frames += n;
}

/* Add an object, in as many pieces as it needs; a full item ends with each. */
static void
add_object(Gathering *gathering, Oid object, const ManifestFile *file)
{
	uint64 offset = 0;

	apply_check_frames(file);
	for (int first = 0; first < file->nframes;)
	{
		uint64 raw_bytes = 0;
		int n = 0;

		while (first + n < file->nframes && (n == 0 || raw_bytes < LOAD_BYTES))
			raw_bytes += file->frames[first + n++].raw_bytes;
		if (gathering->n == 0)
			begin_item(gathering, object, first);
		add_piece(gathering, object, file, first, n, offset);
		first += n;
		offset += raw_bytes;
		gathering->raw_bytes += raw_bytes;
		if (++gathering->n == MAX_OBJECTS || gathering->raw_bytes >= LOAD_BYTES)
			gathering->n = 0;
	}
	gathering->apply->object_bytes += offset;
}

/* The data of large objects, as items of the step that loads tables. */
void
apply_draft_objects(ApplyDraft *draft, ApplyRun *apply)
{
	for (int i = 0; i < apply->toc->entries.count; i++)
	{
		Gathering gathering = {.draft = draft, .apply = apply, .entry = i};
		uint32 n;
		Oid *objects;

		if (apply->stages[i] != STAGE_OBJECT_DATA)
			continue;
		objects =
			toc_large_objects(toc_large_objects_of(apply->toc, apply->toc->entries.items[i]), &n);
		for (uint32 o = 0; o < n; o++)
		{
			CHECK_FOR_INTERRUPTS();
			add_object(&gathering, objects[o],
					   apply_find_file(apply->files, psprintf("blob_%u.dat%s", objects[o],
															  codec_suffix(apply->codec))));
		}
		pfree(objects);
	}
}

/* The oids of the objects that are to be made and were not before. */
char **
apply_new_objects(ApplyRun *apply, int *n)
{
	char **names = NULL;
	uint32 capacity = 0;

	*n = 0;
	for (int i = 0; i < apply->toc->entries.count; i++)
	{
		const TocEntry *entry = apply->toc->entries.items[i];
		uint32 n_objects = 0;
		Oid *objects;

		if (apply->stages[i] != STAGE_LARGE_OBJECTS || strcmp(entry->desc, "BLOB METADATA") != 0 ||
			apply_marks_have(apply->done, entry->dump_id, MARK_WHOLE))
			continue;
		objects = toc_large_objects(entry, &n_objects);
		for (uint32 o = 0; o < n_objects; o++)
		{
			names = draft_grow(names, *n, &capacity, sizeof(char *));
			names[(*n)++] = psprintf("%u", objects[o]);
		}
		pfree(objects);
	}
	return names;
}
