/*
 * frame_reader.h
 *	  The raw bytes of stored frames, decompressed ahead of their use.
 */
#ifndef STEEP_FRAME_READER_H
#define STEEP_FRAME_READER_H

#include "apply/apply_plan.h"
#include "frames/side_thread.h"

extern void frame_reader_init(CountWorkers n_workers, Codec codec);
extern void frame_reader_begin(int dirfd, const char *name, uint64 file_bytes,
							   const ApplyFrame *frames, uint32 n_frames, uint64 raw_bytes);
extern size_t frame_reader_read(void *buf, size_t len);

#endif /* STEEP_FRAME_READER_H */
