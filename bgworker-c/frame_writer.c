/*
 * frame_writer.c
 *	  Turns rows of COPY text into frames.
 *
 * Rows are gathered in a staging buffer, because a compression library has a
 * cost per call that a short row does not repay.  Where it is faster the
 * buffer takes an ordinary frame as a whole; a larger one, or a row larger
 * than the buffer, is compressed as it comes.  A frame stays in memory until
 * the caller, who knows its size only at its end, has written it.
 */
#include "postgres.h"

#include "bytebuffer.h"
#include "compressor.h"
#include "frame_writer.h"
#include "utils/memutils.h"

#define STAGING_BYTES ((size_t) 256 * 1024)
#define WHOLE_FRAME_BYTES ((size_t) 8 * 1024 * 1024)
#define INITIAL_FRAME_BYTES ((size_t) 1024 * 1024)

/* A frame buffer that one huge row has blown up is cut down to this. */
#define KEPT_FRAME_BYTES ((size_t) 16 * 1024 * 1024)

struct FrameWriter
{
	MemoryContext context;
	Compressor *compressor;
	bool open;      /* a frame has begun */
	bool streaming; /* and some of it was compressed */
	uint64 raw_bytes;
	ByteBuffer frame;
	char *staging;
	size_t staged;
	size_t staging_size; /* 0: nothing to gain from gathering */
};

/* A writer in a new child of CurrentMemoryContext. */
FrameWriter *
frame_writer_create(Codec codec, int level)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "steep_repl frame writer",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	FrameWriter *writer = palloc0_object(FrameWriter);

	writer->context = context;
	writer->compressor = compressor_create(codec, level);
	bytebuffer_init(&writer->frame, INITIAL_FRAME_BYTES);
	if (compressor_prefers_whole(writer->compressor))
		writer->staging_size = WHOLE_FRAME_BYTES;
	else if (codec != CODEC_NONE)
		writer->staging_size = STAGING_BYTES;
	writer->staging = palloc(Max(writer->staging_size, 1));
	MemoryContextSwitchTo(previous);
	return writer;
}

/* Begin a frame if none is open; this is what ends the last one's lifetime. */
static void
open_frame(FrameWriter *writer)
{
	if (writer->open)
		return;
	bytebuffer_shrink(&writer->frame, KEPT_FRAME_BYTES);
	writer->raw_bytes = 0;
	writer->staged = 0;
	writer->streaming = false;
	writer->open = true;
}

/* Compress data as a part of the frame. */
static void
stream(FrameWriter *writer, const void *data, size_t len)
{
	if (!writer->streaming)
		compressor_begin(writer->compressor, &writer->frame);
	writer->streaming = true;
	compressor_add(writer->compressor, data, len, &writer->frame);
}

/* Compress what is staged. */
static void
flush_staging(FrameWriter *writer)
{
	stream(writer, writer->staging, writer->staged);
	writer->staged = 0;
}

/* Compress what is left of the frame, which may be all of it, and end it. */
static void
complete_frame(FrameWriter *writer)
{
	if (!writer->streaming && compressor_prefers_whole(writer->compressor))
	{
		compressor_whole(writer->compressor, writer->staging, writer->staged, &writer->frame);
		return;
	}
	flush_staging(writer);
	compressor_end(writer->compressor, &writer->frame);
}

/* Add bytes to the frame; the caller ends it only where a row ends. */
void
frame_writer_append(FrameWriter *writer, const void *data, size_t len)
{
	open_frame(writer);
	writer->raw_bytes += len;

	if (len > writer->staging_size - writer->staged)
		flush_staging(writer);
	if (len >= writer->staging_size)
	{
		stream(writer, data, len);
		return;
	}
	memcpy(writer->staging + writer->staged, data, len);
	writer->staged += len;
}

/* How much the open frame holds, before compression. */
uint64
frame_writer_raw_bytes(const FrameWriter *writer)
{
	return writer->open ? writer->raw_bytes : 0;
}

/* Complete the frame; one without rows is valid too. */
void
frame_writer_finish(FrameWriter *writer, Frame *frame)
{
	open_frame(writer);
	complete_frame(writer);
	writer->open = false;

	frame->data = writer->frame.data;
	frame->stored_bytes = writer->frame.len;
	frame->raw_bytes = writer->raw_bytes;
	digest_bytes(frame->data, frame->stored_bytes, frame->sha256);
}

/* Release the writer and its last frame. */
void
frame_writer_destroy(FrameWriter *writer)
{
	MemoryContextDelete(writer->context);
}
