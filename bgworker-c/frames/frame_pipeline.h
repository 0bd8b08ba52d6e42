/*
 * frame_pipeline.h
 *	  Compresses frames while the next one is being filled.
 */
#ifndef STEEP_FRAME_PIPELINE_H
#define STEEP_FRAME_PIPELINE_H

#include "postgres.h"

#include "frames/frame_writer.h"
#include "frames/side_thread.h"

typedef struct FramePipeline FramePipeline;

/* Takes a frame, which it must have written when it returns. */
typedef void (*FrameSink)(const Frame *frame);

extern FramePipeline *
frame_pipeline_create(CountWorkers n_workers, Codec codec, int level, FrameSink sink);
extern void frame_pipeline_keep_order(FramePipeline *pipeline, bool in_order);
extern FrameWriter *frame_pipeline_writer(FramePipeline *pipeline);
extern void frame_pipeline_end_frame(FramePipeline *pipeline);
extern void frame_pipeline_drain(FramePipeline *pipeline);
extern void frame_pipeline_destroy(FramePipeline *pipeline);

#endif /* STEEP_FRAME_PIPELINE_H */
