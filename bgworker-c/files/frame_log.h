/*
 * frame_log.h
 *	  What copiers note of each frame, for the manifest.
 */
#ifndef STEEP_FRAME_LOG_H
#define STEEP_FRAME_LOG_H

#include "postgres.h"

#include "base/digest.h"
#include "base/owned_fd.h"
#include "storage/block.h"

#define FRAME_LOG_PREFIX "frames."

/* One frame, as copiers append it to their own file of the job's directory. */
typedef struct FrameRecord
{
	uint64 offset; /* in the table's data file */
	uint64 rows;
	uint64 raw_bytes;
	uint64 stored_bytes;
	uint32 table; /* index in the plan */
	Oid object;   /* of a batch of large objects */
	BlockNumber first_block;
	BlockNumber end_block; /* InvalidBlockNumber = not a range of blocks */
	uint8 sha256[DIGEST_BYTES];
} FrameRecord;

typedef struct FrameLog
{
	OwnedFd *file;
	int n;
	FrameRecord buffer[128];
} FrameLog;

extern FrameLog *frame_log_create(int dirfd, int number);
extern void frame_log_add(FrameLog *log, const FrameRecord *record);
extern void frame_log_close(FrameLog *log);
extern FrameRecord *frame_log_read(int dirfd, int n_logs, uint64 *n_records);
extern void frame_log_remove(int dirfd, int n_logs);

#endif /* STEEP_FRAME_LOG_H */
