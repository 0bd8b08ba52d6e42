/*
 * apply_object_data.c
 *	  Fills large objects from their frames.
 *
 * lo_put() does the writing, which checks the right to. Pieces of one object
 * that are written at the same time share no row of pg_largeobject.
 */
#include "apply/apply_load.h"

#include "apply/frame_reader.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "varatt.h"

/* So much at a time; a multiple of the rows of pg_largeobject. */
#define PIECE_BYTES ((size_t) 256 * 1024)

static void
name_object(void *arg)
{
	errcontext("filling large object %u", ((const ApplyObject *) arg)->object);
}

static uint64
raw_bytes_of(ApplyPlan *plan, const ApplyObject *piece)
{
	uint64 raw_bytes = 0;

	for (uint32 i = 0; i < piece->n_frames; i++)
		raw_bytes += plan_frames(plan)[piece->first_frame + i].raw_bytes;
	return raw_bytes;
}

pg_noreturn static void
fail(const char *file)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("snapshot file \"%s\" does not hold what the manifest says", file)));
}

/* Write what the frames hold, which must be as much as the manifest says. */
static void
fill(SteepJob *job, const ApplyObject *piece, const char *file, uint64 raw_bytes, bytea *buffer)
{
	uint64 done = 0;
	size_t got;

	do
	{
		got = frame_reader_read(VARDATA(buffer), PIECE_BYTES);
		if (got > raw_bytes - done)
			fail(file);
		SET_VARSIZE(buffer, VARHDRSZ + got);
		if (got > 0)
			DirectFunctionCall3(be_lo_put, ObjectIdGetDatum(piece->object),
								Int64GetDatum((int64) (piece->offset + done)),
								PointerGetDatum(buffer));
		done += got;
		pg_atomic_fetch_add_u64(&job->counters.raw_bytes, got);
		pg_atomic_fetch_add_u64(&job->counters.bytes_done, got);
	} while (got == PIECE_BYTES);
	if (done != raw_bytes)
		fail(file);
}

/* Fill an item's objects, in the caller's transaction. */
void
apply_load_objects(SteepJob *job, ApplyPlan *plan, int dirfd, const ApplyItem *item)
{
	bytea *buffer = palloc(VARHDRSZ + PIECE_BYTES);

	for (uint32 i = 0; i < item->n_objects; i++)
	{
		ApplyObject *piece = &plan_objects(plan)[item->first_object + i];
		ErrorContextCallback context = {
			.callback = name_object, .arg = piece, .previous = error_context_stack};
		uint64 raw_bytes = raw_bytes_of(plan, piece);
		char file[64];

		CHECK_FOR_INTERRUPTS();
		error_context_stack = &context;
		snprintf(file, sizeof(file), "blob_%u.dat%s", piece->object, codec_suffix(plan->codec));
		frame_reader_begin(dirfd, file, piece->stored_bytes, plan_frames(plan) + piece->first_frame,
						   piece->n_frames, raw_bytes);
		fill(job, piece, file, raw_bytes, buffer);
		error_context_stack = context.previous;
	}
	pfree(buffer);
}
