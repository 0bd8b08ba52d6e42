/*
 * frame_pipeline.c
 *	  Compresses frames while the next one is being filled.
 *
 * pg_dump compresses in its own process while a backend formats rows; one
 * process that did both in turns would take the sum of both times.  So there
 * are several frame writers: while one is filled, a thread completes others.
 * Where the thread is the slower side and has one waiting already, this side
 * completes a frame, too: both are busy all the time.
 */
#include "frames/frame_pipeline.h"

#include "frames/frame_thread.h"
#include "frames/side_thread.h"

struct FramePipeline
{
	CountWorkers n_workers;
	FrameWriter *filling;
	FrameWriter *spare[THREAD_FRAMES]; /* those that the thread does not have */
	int n_spare;
	bool threaded;
	bool in_order;
	FrameSink sink;
};

/* A pipeline in CurrentMemoryContext; one a process. */
FramePipeline *
frame_pipeline_create(CountWorkers n_workers, Codec codec, int level, FrameSink sink)
{
	FramePipeline *pipeline = palloc0_object(FramePipeline);

	pipeline->n_workers = n_workers;
	pipeline->sink = sink;
	pipeline->filling = frame_writer_create(codec, level);
	while (pipeline->n_spare < THREAD_FRAMES)
		pipeline->spare[pipeline->n_spare++] = frame_writer_create(codec, level);
	return pipeline;
}

/* The writer that takes the rows; until the end of its frame. */
FrameWriter *
frame_pipeline_writer(FramePipeline *pipeline)
{
	return pipeline->filling;
}

/* Whether frames are delivered in the order in which they were ended; of a pipeline that is drained. */
void
frame_pipeline_keep_order(FramePipeline *pipeline, bool in_order)
{
	pipeline->in_order = in_order;
}

static void
deliver(FramePipeline *pipeline, FrameWriter *writer)
{
	Frame frame;

	frame_writer_finish(writer, &frame);
	pipeline->sink(&frame);
}

/* Take frames back from the thread, those that are complete or all of them, and write them. */
static void
collect(FramePipeline *pipeline, bool all)
{
	FrameWriter *writer;

	while ((writer = frame_thread_collect(all)) != NULL)
	{
		deliver(pipeline, writer);
		pipeline->spare[pipeline->n_spare++] = writer;
	}
}

static bool
is_for_thread(FramePipeline *pipeline)
{
	if (!frame_writer_is_threadable(pipeline->filling) || pipeline->n_spare == 0 ||
		!side_thread_pays(pipeline->n_workers()))
		return false;
	if (!pipeline->threaded)
		pipeline->threaded = frame_thread_start();
	return pipeline->threaded;
}

/* End the frame, with the thread's help if it can be had. */
void
frame_pipeline_end_frame(FramePipeline *pipeline)
{
	frame_writer_prepare(pipeline->filling);
	collect(pipeline, false);
	if (is_for_thread(pipeline))
	{
		frame_thread_submit(pipeline->filling);
		pipeline->filling = pipeline->spare[--pipeline->n_spare];
		return;
	}
	frame_writer_complete(pipeline->filling);
	if (pipeline->in_order)
		collect(pipeline, true);
	deliver(pipeline, pipeline->filling);
}

/* End the open frame, if it holds anything, and see all of them written. */
void
frame_pipeline_drain(FramePipeline *pipeline)
{
	if (frame_writer_raw_bytes(pipeline->filling) > 0)
	{
		frame_writer_prepare(pipeline->filling);
		frame_writer_complete(pipeline->filling);
		if (pipeline->in_order)
			collect(pipeline, true);
		deliver(pipeline, pipeline->filling);
	}
	collect(pipeline, true);
}

/* Release the pipeline, which has been drained. */
void
frame_pipeline_destroy(FramePipeline *pipeline)
{
	frame_writer_destroy(pipeline->filling);
	while (pipeline->n_spare > 0)
		frame_writer_destroy(pipeline->spare[--pipeline->n_spare]);
	pfree(pipeline);
}
