/*
 * fetch_plan.h
 *	  What a fetch's workers take their work from: files and their frames, in dynamic
 *	  shared memory.
 */
#ifndef STEEP_FETCH_PLAN_H
#define STEEP_FETCH_PLAN_H

#include "postgres.h"

#include <sys/stat.h>

#include "base/digest.h"
#include "files/manifest_read.h"
#include "jobs/run.h"
#include "jobs/shared_plan.h"

#define FETCH_NAME_LEN 64 /* of a file; ours are shorter */

/* No worker takes more of a file at once than frames of so many bytes. */
#define BATCH_BYTES ((uint64) 64 * 1024 * 1024)

/* How fast all workers together may ask. */
typedef struct FetchRate
{
	slock_t mutex;
	int kilobytes_per_second; /* 0 = as fast as may be */
	TimestampTz next;         /* nothing may be asked for before */
} FetchRate;

typedef struct FetchFile
{
	char name[FETCH_NAME_LEN];
	char table[STEEP_TABLE_LEN]; /* empty = not of one */
	dev_t device;                /* of the file that the coordinator has made */
	ino_t inode;
	pg_atomic_uint32 batches_left;
} FetchFile;

typedef struct FetchFrame
{
	uint64 offset;
	uint64 stored_bytes;
	uint8 sha256[DIGEST_BYTES];
} FetchFrame;

/* Frames of a file that one worker sees to. */
typedef struct FetchBatch
{
	uint32 file;
	uint32 n_frames;
	uint64 first_frame;
	uint32 frames_left; /* of that worker's */
} FetchBatch;

typedef struct FetchPlan
{
	uint32 n_files;
	uint32 n_batches;
	uint64 n_frames;
	pg_atomic_uint32 next_batch;
	pg_atomic_uint32 batches_done;
	FetchRate rate;
	char path[MAXPGPATH]; /* of the snapshot, at the peer */
	/* where in this segment they begin */
	size_t files;
	size_t frames;
	size_t batches;
	size_t params; /* of the job, a string */
} FetchPlan;

/* What a coordinator knows of a fetch. */
struct FetchRun
{
	char *path; /* of the snapshot, at the peer */
	uint64 manifest_bytes;
	uint8 manifest_sha256[DIGEST_BYTES];
	char *connection; /* to the peer, while there is one */
	bool has_files;   /* an earlier attempt has left some */
	Manifest *manifest;
	FetchPlan *plan;
};

extern void fetch_make_plan(JobRun *run);
extern FetchFile *fetch_files(FetchPlan *plan);
extern FetchFrame *fetch_frames(FetchPlan *plan);
extern FetchBatch *fetch_batches(FetchPlan *plan);
extern FetchBatch *fetch_next_batch(FetchPlan *plan);

/* fetch_rate.c */
extern void fetch_rate_init(FetchRate *rate, int kilobytes_per_second);
extern bool fetch_rate_is_free(FetchRate *rate);
extern void fetch_rate_wait(FetchRate *rate, uint32 bytes);

/* fetch_loss.c */
extern void fetch_survive_loss(SteepJob *job, int *n_losses, MemoryContext context);

/* fetch_files.c: the files that are written */
extern void fetch_make_files(JobRun *run);
extern int fetch_open_file(int dirfd, const FetchFile *file);
extern bool fetch_frame_is_here(int fd, const FetchFrame *frame);
extern void
fetch_write(int fd, const FetchFile *file, uint64 offset, const char *data, uint32 length);
extern void fetch_sync_file(int dirfd, int fd, const FetchFile *file);

/* fetch_manifest.c */
#define UNFINISHED_MANIFEST MANIFEST_FILE ".tmp"
extern void fetch_get_manifest(JobRun *run, Jsonb *action);

#endif /* STEEP_FETCH_PLAN_H */
