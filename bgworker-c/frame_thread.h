/*
 * frame_thread.h
 *	  The thread that completes frames beside the process's own.
 */
#ifndef STEEP_FRAME_THREAD_H
#define STEEP_FRAME_THREAD_H

#include "postgres.h"

#include "frame_writer.h"

extern bool frame_thread_start(void);
extern void frame_thread_submit(FrameWriter *writer);
extern bool frame_thread_is_idle(void);
extern void frame_thread_wait(void);
extern double frame_thread_duration(void);

#endif /* STEEP_FRAME_THREAD_H */
