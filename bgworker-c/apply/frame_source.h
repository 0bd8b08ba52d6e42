/*
 * frame_source.h
 *	  The stored bytes of some frames of a data file, each held against its
 *	  digest when its end is reached.
 */
#ifndef STEEP_FRAME_SOURCE_H
#define STEEP_FRAME_SOURCE_H

#include "apply/apply_plan.h"
#include "frames/frame_error.h"
#include "base/owned_fd.h"
#include "port/atomics.h"

typedef struct FrameSource
{
	OwnedFd *file;
	char name[64];
	const ApplyFrame *frames;
	uint32 n_frames;
	uint32 at;   /* the frame at hand */
	uint64 done; /* of its stored bytes */
	pg_cryptohash_ctx *digest;
	bool digesting;              /* the frame at hand has begun */
	pg_atomic_uint32 is_stopped; /* by another thread: read no more */
} FrameSource;

extern FrameSource *frame_source_create(void);
extern void frame_source_open(FrameSource *source, int dirfd, const char *name, uint64 bytes);
extern void frame_source_begin(FrameSource *source, const ApplyFrame *frames, uint32 n_frames);
extern size_t frame_source_read(void *arg, void *buf, size_t len, FrameError *error);

#endif /* STEEP_FRAME_SOURCE_H */
