/*
 * fetch_plan.c
 *	  Makes the plan of a fetch from the manifest, and hands out its batches.
 */
#include "fetch/fetch_plan.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

FetchFile *
fetch_files(FetchPlan *plan)
{
	return (FetchFile *) ((char *) plan + plan->files);
}

FetchFrame *
fetch_frames(FetchPlan *plan)
{
	return (FetchFrame *) ((char *) plan + plan->frames);
}

FetchBatch *
fetch_batches(FetchPlan *plan)
{
	return (FetchBatch *) ((char *) plan + plan->batches);
}

/* The next batch, for whoever asks first; NULL when all are taken. */
FetchBatch *
fetch_next_batch(FetchPlan *plan)
{
	uint32 i = pg_atomic_fetch_add_u32(&plan->next_batch, 1);

	return i < plan->n_batches ? &fetch_batches(plan)[i] : NULL;
}

/* How many of some frames make a batch. */
static int
batch_length(const ManifestFrame **frames, int n)
{
	uint64 bytes = 0;
	int i = 0;

	do
		bytes += frames[i]->stored_bytes;
	while (++i < n && bytes < BATCH_BYTES);
	return i;
}

/* A file's batches, and its frames in the order of the file. With no plan they are counted only, in the header. */
static void
add_file(FetchPlan *header, FetchPlan *plan, const ManifestFile *file)
{
	const ManifestFrame **frames = manifest_sort_frames(file);
	uint32 n_batches = 0;

	for (int at = 0; at < file->nframes; n_batches++)
	{
		int n = batch_length(frames + at, file->nframes - at);

		if (plan != NULL)
			fetch_batches(plan)[header->n_batches + n_batches] =
				(FetchBatch){header->n_files, n, header->n_frames + at, n};
		for (int i = at; plan != NULL && i < at + n; i++)
		{
			FetchFrame *frame = &fetch_frames(plan)[header->n_frames + i];

			frame->offset = frames[i]->offset;
			frame->stored_bytes = frames[i]->stored_bytes;
			memcpy(frame->sha256, frames[i]->sha256, DIGEST_BYTES);
		}
		at += n;
	}
	if (plan != NULL)
		pg_atomic_init_u32(&fetch_files(plan)[header->n_files].batches_left, n_batches);
	header->n_files++;
	header->n_batches += n_batches;
	header->n_frames += file->nframes;
	pfree(frames);
}

static void
name_file(FetchFile *target, const ManifestFile *file)
{
	strlcpy(target->name, file->name, sizeof(target->name));
	target->table[0] = '\0';
	if (file->schema != NULL && file->table != NULL)
	{
		const char *table = quote_qualified_identifier(file->schema, file->table);
		int len = pg_mbcliplen(table, strlen(table), sizeof(target->table) - 1);

		memcpy(target->table, table, len);
		target->table[len] = '\0';
	}
}

/* Where everything is in the segment; how large that is. */
static size_t
lay_out(FetchPlan *header, const char *params)
{
	header->files = MAXALIGN(sizeof(FetchPlan));
	header->frames = header->files + MAXALIGN(header->n_files * sizeof(FetchFile));
	header->batches = header->frames + MAXALIGN(header->n_frames * sizeof(FetchFrame));
	header->params = header->batches + MAXALIGN(header->n_batches * sizeof(FetchBatch));
	return header->params + strlen(params) + 1;
}

/* Make the plan and share it. */
void
fetch_make_plan(JobRun *run)
{
	const Manifest *manifest = run->fetch->manifest;
	FetchPlan *header = palloc0_object(FetchPlan);
	FetchPlan count = {0};
	FetchPlan *plan;
	dsm_segment *segment;

	for (int i = 0; i < manifest->nfiles; i++)
		add_file(header, NULL, &manifest->files[i]);
	strlcpy(header->path, run->fetch->path, sizeof(header->path));
	segment = dsm_create(lay_out(header, run->params), 0);
	dsm_pin_mapping(segment);
	plan = dsm_segment_address(segment);
	memcpy(plan, header, sizeof(FetchPlan));
	strcpy((char *) plan + plan->params, run->params);
	for (int i = 0; i < manifest->nfiles; i++)
	{
		CHECK_FOR_INTERRUPTS();
		name_file(&fetch_files(plan)[i], &manifest->files[i]);
		add_file(&count, plan, &manifest->files[i]);
	}
	pg_atomic_init_u32(&plan->next_batch, 0);
	pg_atomic_init_u32(&plan->batches_done, 0);
	fetch_rate_init(&plan->rate, 0);
	run->fetch->plan = plan;
	run->job->plan = dsm_segment_handle(segment);
}
