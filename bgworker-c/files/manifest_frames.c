/*
 * manifest_frames.c
 *	  The frames of a file in the order of the file, which workers wrote in any.
 */
#include "postgres.h"

#include "files/manifest_read.h"
#include "utils/memutils.h"

static int
compare_offsets(const void *a, const void *b)
{
	const ManifestFrame *left = *(const ManifestFrame *const *) a;
	const ManifestFrame *right = *(const ManifestFrame *const *) b;

	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	if (left->stored_bytes != right->stored_bytes)
		return left->stored_bytes < right->stored_bytes ? -1 : 1;
	return 0;
}

/* In CurrentMemoryContext. */
const ManifestFrame **
manifest_sort_frames(const ManifestFile *file)
{
	const ManifestFrame **frames =
		palloc_extended(Max(file->nframes, 1) * sizeof(ManifestFrame *), MCXT_ALLOC_HUGE);

	for (int i = 0; i < file->nframes; i++)
		frames[i] = &file->frames[i];
	qsort(frames, file->nframes, sizeof(ManifestFrame *), compare_offsets);
	return frames;
}

/* Whether sorted frames cover the file without a gap or an overlap; until where they do. */
bool
manifest_frames_tile(const ManifestFile *file, const ManifestFrame **frames, uint64 *end)
{
	*end = 0;
	for (int i = 0; i < file->nframes; i++)
	{
		if (frames[i]->offset != *end || frames[i]->stored_bytes > file->stored_bytes - *end)
			return false;
		*end += frames[i]->stored_bytes;
	}
	return *end == file->stored_bytes;
}
