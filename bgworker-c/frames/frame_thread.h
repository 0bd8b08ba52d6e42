/*
 * frame_thread.h
 *	  The thread that completes frames beside the process's own.
 */
#ifndef STEEP_FRAME_THREAD_H
#define STEEP_FRAME_THREAD_H

#include "postgres.h"

#include "frames/frame_writer.h"

/* One that it completes, and one that waits. */
#define THREAD_FRAMES 2

extern bool frame_thread_start(void);
extern void frame_thread_submit(FrameWriter *writer);
extern FrameWriter *frame_thread_collect(bool wait);

#endif /* STEEP_FRAME_THREAD_H */
