/*
 * frame_pipeline.c
 *	  Compresses frames while the next one is being filled.
 *
 * pg_dump compresses in its own process while a backend formats rows; one
 * process that did both in turns would take the sum of both times.  So there
 * are two frame writers: while one is filled by COPY, a thread completes the
 * other.  Where the thread is slower than COPY, this side completes frames too.
 */
#include "frame_pipeline.h"

#include "frame_thread.h"
#include "portability/instr_time.h"

struct FramePipeline
{
	FrameWriter *writers[2];
	int filling;          /* index of the writer that takes rows */
	bool waiting;         /* the other one's frame is with the thread */
	instr_time submitted; /* since when */
	double expected;      /* ms that completing a frame takes */
	bool threaded;
	FrameSink sink;
};

/* A pipeline in CurrentMemoryContext; one a process. */
FramePipeline *
frame_pipeline_create(Codec codec, int level, FrameSink sink)
{
	FramePipeline *pipeline = palloc0_object(FramePipeline);

	pipeline->sink = sink;
	for (int i = 0; i < 2; i++)
		pipeline->writers[i] = frame_writer_create(codec, level);
	return pipeline;
}

/* The writer that takes the rows; until the end of its frame. */
FrameWriter *
frame_pipeline_writer(FramePipeline *pipeline)
{
	return pipeline->writers[pipeline->filling];
}

static void
deliver(FramePipeline *pipeline, FrameWriter *writer)
{
	Frame frame;

	frame_writer_finish(writer, &frame);
	pipeline->sink(&frame);
}

/* Take the frame back from the thread, when it is complete, and write it. */
static void
collect(FramePipeline *pipeline)
{
	if (!pipeline->waiting)
		return;
	frame_thread_wait();
	pipeline->expected = frame_thread_duration();
	pipeline->waiting = false;
	deliver(pipeline, pipeline->writers[1 - pipeline->filling]);
}

/* Whether the thread is free, or will be so soon that to wait is best. */
static bool
thread_is_near(FramePipeline *pipeline)
{
	instr_time elapsed;

	if (!pipeline->waiting || frame_thread_is_idle())
		return true;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, pipeline->submitted);
	return pipeline->expected - INSTR_TIME_GET_MILLISEC(elapsed) < pipeline->expected / 2;
}

/* Complete the frame here. */
static void
complete_here(FramePipeline *pipeline)
{
	frame_writer_complete(frame_pipeline_writer(pipeline));
	deliver(pipeline, frame_pipeline_writer(pipeline));
}

/* End the frame, with the thread's help if it can be had. */
void
frame_pipeline_end_frame(FramePipeline *pipeline)
{
	FrameWriter *writer = frame_pipeline_writer(pipeline);

	frame_writer_prepare(writer);
	if (!pipeline->threaded)
		pipeline->threaded = frame_thread_start();
	if (!pipeline->threaded || !frame_writer_is_threadable(writer) || !thread_is_near(pipeline))
	{
		complete_here(pipeline);
		return;
	}
	collect(pipeline);
	INSTR_TIME_SET_CURRENT(pipeline->submitted);
	frame_thread_submit(writer);
	pipeline->waiting = true;
	pipeline->filling = 1 - pipeline->filling;
}

/* End the open frame, if it holds anything, and see all of them written. */
void
frame_pipeline_drain(FramePipeline *pipeline)
{
	FrameWriter *writer = frame_pipeline_writer(pipeline);

	if (frame_writer_raw_bytes(writer) > 0)
	{
		frame_writer_prepare(writer);
		complete_here(pipeline);
	}
	collect(pipeline);
}

/* Release the pipeline, which has been drained. */
void
frame_pipeline_destroy(FramePipeline *pipeline)
{
	for (int i = 0; i < 2; i++)
		frame_writer_destroy(pipeline->writers[i]);
	pfree(pipeline);
}
