/*
 * fetcher.c
 *	  A worker of a fetch: takes batches of frames, sees which are there, asks the peer
 *	  for the others, and writes them.
 */
#include "fetch/fetch_plan.h"

#include <unistd.h>

#include "base/allocator.h"
#include "base/owned_fd.h"
#include "fetch/piece_queue.h"
#include "files/directory.h"
#include "jobs/job_directory.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* A file of the snapshot that is open; one at a time. */
typedef struct OpenFile
{
	OwnedFd *fd;
	const FetchFile *file; /* NULL = none */
} OpenFile;

typedef struct Fetcher
{
	SteepJob *job;
	FetchPlan *plan;
	int dirfd;
	PieceQueue *queue;
	FetchBatch *batch; /* of what is asked for next, NULL = none yet */
	uint32 frame;      /* in the batch */
	uint64 part;       /* of the frame: what was asked for of it */
	OpenFile asking;   /* the batch's file */
	OpenFile writing;  /* that of what has come */
	pg_cryptohash_ctx *digest;
	uint64 written; /* of the frame that comes */
} Fetcher;

static FetchFile *
file_of(Fetcher *f, const FetchBatch *batch)
{
	return &fetch_files(f->plan)[batch->file];
}

static int
open_file(Fetcher *f, OpenFile *open, const FetchFile *file)
{
	if (open->file != file)
	{
		owned_fd_close(open->fd);
		open->file = NULL;
		owned_fd_set(open->fd, fetch_open_file(f->dirfd, file));
		open->file = file;
	}
	return open->fd->fd;
}

/* A frame is here and right. The last one of a batch has it on disk. */
static void
frame_is_done(Fetcher *f, FetchBatch *batch, const FetchFrame *frame)
{
	JobCounters *counters = &f->job->counters;
	FetchFile *file = file_of(f, batch);

	pg_atomic_fetch_add_u64(&counters->bytes_done, frame->stored_bytes);
	pg_atomic_fetch_add_u64(&counters->raw_bytes, frame->stored_bytes);
	pg_atomic_fetch_add_u64(&counters->stored_bytes, frame->stored_bytes);
	if (--batch->frames_left > 0)
		return;
	fetch_sync_file(f->dirfd, open_file(f, &f->writing, file), file);
	if (pg_atomic_sub_fetch_u32(&file->batches_left, 1) == 0 && file->table[0] != '\0')
		pg_atomic_fetch_add_u32(&counters->tables_done, 1);
	pg_atomic_fetch_add_u32(&f->plan->batches_done, 1);
}

/* Begin with a batch if there is none at hand; false if there are no more. */
static bool
have_batch(Fetcher *f)
{
	if (f->batch != NULL && f->frame < f->batch->n_frames)
		return true;
	f->batch = fetch_next_batch(f->plan);
	f->frame = 0;
	f->part = 0;
	if (f->batch != NULL && file_of(f, f->batch)->table[0] != '\0')
		job_show_table(f->job, file_of(f, f->batch)->table);
	return f->batch != NULL;
}

pg_noreturn static void
wrong_digest(const FetchFile *file, const FetchFrame *frame)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("peer: snapshot file \"%s\" is not what the manifest says", file->name),
			 errdetail("SHA-256 of the " UINT64_FORMAT " bytes from " UINT64_FORMAT " on differs.",
					   frame->stored_bytes, frame->offset),
			 errhint("See what is wrong with it there: steep_repl.verify_snapshot().")));
}

/* What to ask for next; false if all was asked for. */
static bool
next_wanted(Fetcher *f, Piece *piece)
{
	while (have_batch(f))
	{
		FetchFile *file = file_of(f, f->batch);
		uint64 number = f->batch->first_frame + f->frame;
		const FetchFrame *frame = &fetch_frames(f->plan)[number];

		if (f->part == 0 && fetch_frame_is_here(open_file(f, &f->asking, file), frame))
		{
			f->frame++;
			frame_is_done(f, f->batch, frame);
			continue;
		}
		if (frame->stored_bytes == 0)
			wrong_digest(file, frame);
		*piece = (Piece){.file = file->name,
						 .offset = frame->offset + f->part,
						 .length = Min(PIECE_BYTES, frame->stored_bytes - f->part),
						 .batch = f->batch,
						 .frame = number};
		f->part += piece->length;
		if (f->part == frame->stored_bytes)
		{
			f->frame++;
			f->part = 0;
		}
		return true;
	}
	return false;
}

/* A piece has come: into its file. The last one of a frame shows whether that is right. */
static void
take(Fetcher *f, const Piece *piece, const char *bytes)
{
	FetchFile *file = file_of(f, piece->batch);
	const FetchFrame *frame = &fetch_frames(f->plan)[piece->frame];
	uint8 found[DIGEST_BYTES];

	if (f->written == 0)
		digest_restart(f->digest);
	digest_add(f->digest, bytes, piece->length);
	fetch_write(open_file(f, &f->writing, file), file, piece->offset, bytes, piece->length);
	f->written += piece->length;
	if (f->written < frame->stored_bytes)
		return;
	f->written = 0;
	if (pg_cryptohash_final(f->digest, found, DIGEST_BYTES) < 0)
		digest_fail(f->digest);
	if (memcmp(found, frame->sha256, DIGEST_BYTES) != 0)
		wrong_digest(file, frame);
	frame_is_done(f, piece->batch, frame);
}

static void
work(Fetcher *f)
{
	MemoryContext per_piece =
		AllocSetContextCreate(CurrentMemoryContext, "steep_repl piece", ALLOCSET_DEFAULT_SIZES);
	Piece wanted;
	Piece piece;

	MemoryContextSwitchTo(per_piece);
	for (;;)
	{
		const char *bytes = f->queue->n > 0 ? piece_queue_next(f->queue, &piece) : NULL;

		while (piece_queue_has_room(f->queue) && next_wanted(f, &wanted))
			piece_queue_ask(f->queue, &wanted);
		piece_queue_read_ahead(f->queue);
		if (bytes != NULL)
			take(f, &piece, bytes);
		else if (f->queue->n == 0)
			return;
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(per_piece);
	}
}

static void
run_fetcher(SteepJob *job)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "steep_repl fetcher", ALLOCSET_DEFAULT_SIZES);
	DirectoryMark mark = job_directory_mark(job);
	Fetcher *f;
	JobRun *run;

	MemoryContextSwitchTo(context);
	f = palloc0_object(Fetcher);
	run = palloc0_object(JobRun);
	f->job = job;
	f->plan = plan_attach(job->plan);
	f->dirfd = directory_open_marked(job->path, &mark);
	f->digest = digest_create();
	f->asking.fd = owned_fd_create(-1);
	f->writing.fd = owned_fd_create(-1);
	run->job = job;
	run->context = context;
	run->params = (char *) f->plan + f->plan->params;
	f->queue = piece_queue_create(run, f->plan->path, &f->plan->rate, NULL);
	work(f);
}

void
steep_repl_fetcher_main(Datum arg)
{
	SteepJob *job = worker_start("fetcher");

	SetConfigOption("application_name",
					psprintf("steep_repl %s fetch %d", job->object_id, worker_number() + 1),
					PGC_SUSET, PGC_S_OVERRIDE);
	allocator_keep_memory();
	worker_run_helper(job, run_fetcher);
}
