/*
 * frame_writer.c
 *	  Turns rows of COPY text into frames.
 *
 * Rows are gathered in a staging buffer, because a compression library has a
 * cost per call that a short row does not repay.  The buffer takes an ordinary
 * frame as a whole, which is faster and lets another thread compress it; a row
 * larger than the buffer is compressed as it comes, and so is everything at
 * levels so slow that a whole frame could not be cancelled.  A frame stays in
 * memory until the caller, who knows its size only at its end, has written it.
 */
#include "postgres.h"

#include "base/bytebuffer.h"
#include "frames/compressor.h"
#include "frames/frame_writer.h"
#include "utils/memutils.h"

#define STAGING_BYTES ((size_t) 256 * 1024)
#define INITIAL_FRAME_BYTES ((size_t) 1024 * 1024)

/* The caller ends a frame at 8 MB, after a row that mostly goes beyond that. */
#define WHOLE_FRAME_BYTES ((size_t) 8 * 1024 * 1024 + STAGING_BYTES)

/* A frame buffer that one huge row has blown up is cut down to this. */
#define KEPT_FRAME_BYTES ((size_t) 16 * 1024 * 1024)

struct FrameWriter
{
	MemoryContext context;
	Compressor *compressor;
	pg_cryptohash_ctx *digest;
	bool open;      /* a frame has begun */
	bool streaming; /* and some of it was compressed */
	uint64 raw_bytes;
	uint64 rows;
	ByteBuffer frame;
	char *staging;
	size_t staged;
	size_t staging_size;

	/* what completing a frame gave */
	const char *failure;
	bool digest_failed;
	uint8 sha256[DIGEST_BYTES];
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
	writer->digest = digest_create();
	bytebuffer_init(&writer->frame, INITIAL_FRAME_BYTES);
	writer->staging_size =
		compressor_takes_whole(writer->compressor) ? WHOLE_FRAME_BYTES : STAGING_BYTES;
	writer->staging = palloc(writer->staging_size);
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
	writer->rows = 0;
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

/* Add a row, with the newline at its end. */
void
frame_writer_add_row(FrameWriter *writer, const void *row, size_t len)
{
	frame_writer_append(writer, row, len);
	writer->rows++;
}

/* How much the open frame holds, before compression. */
uint64
frame_writer_raw_bytes(const FrameWriter *writer)
{
	return writer->open ? writer->raw_bytes : 0;
}

/* Get ready to complete the frame; one without rows is valid too. */
void
frame_writer_prepare(FrameWriter *writer)
{
	open_frame(writer);
	if (frame_writer_is_threadable(writer))
		bytebuffer_reserve(&writer->frame, compressor_bound(writer->compressor, writer->staged));
	digest_restart(writer->digest);
}

/* Whether the frame was gathered as a whole. */
bool
frame_writer_is_threadable(const FrameWriter *writer)
{
	return !writer->streaming && compressor_takes_whole(writer->compressor);
}

/* The frame's bytes, once it is complete. */
static const char *
frame_data(const FrameWriter *writer)
{
	if (frame_writer_is_threadable(writer) && compressor_is_none(writer->compressor))
		return writer->staging;
	return writer->frame.data;
}

/* Compress what is left of the frame, which may be all of it, and digest it. */
void
frame_writer_complete(FrameWriter *writer)
{
	ByteBuffer *frame = &writer->frame;

	writer->failure = NULL;
	if (frame_writer_is_threadable(writer))
		writer->failure = compressor_whole(writer->compressor, writer->staging, writer->staged,
										   frame->data, frame->capacity, &frame->len);
	else
	{
		flush_staging(writer);
		compressor_end(writer->compressor, frame);
	}
	writer->digest_failed =
		writer->failure == NULL &&
		(pg_cryptohash_update(writer->digest, (const uint8 *) frame_data(writer), frame->len) < 0 ||
		 pg_cryptohash_final(writer->digest, writer->sha256, DIGEST_BYTES) < 0);
}

/* Hand over the completed frame, or raise what went wrong. */
void
frame_writer_finish(FrameWriter *writer, Frame *frame)
{
	if (writer->failure != NULL)
		compressor_failed(writer->failure);
	if (writer->digest_failed)
		digest_fail(writer->digest);
	frame->data = frame_data(writer);
	frame->stored_bytes = writer->frame.len;
	frame->raw_bytes = writer->raw_bytes;
	frame->rows = writer->rows;
	memcpy(frame->sha256, writer->sha256, DIGEST_BYTES);
	writer->open = false;
}

/* Release the writer and its last frame. */
void
frame_writer_destroy(FrameWriter *writer)
{
	pg_cryptohash_free(writer->digest);
	MemoryContextDelete(writer->context);
}
