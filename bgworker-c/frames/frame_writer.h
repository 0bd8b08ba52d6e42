/*
 * frame_writer.h
 *	  Turns rows of COPY text into frames: independently decompressible pieces
 *	  of a data file, each held in memory until it is written.
 */
#ifndef STEEP_FRAME_WRITER_H
#define STEEP_FRAME_WRITER_H

#include "postgres.h"

#include "base/codec.h"
#include "base/digest.h"

typedef struct FrameWriter FrameWriter;

typedef struct Frame
{
	const char *data; /* valid until the writer's next row */
	size_t stored_bytes;
	uint64 raw_bytes; /* before compression */
	uint64 rows;
	uint8 sha256[DIGEST_BYTES]; /* of the stored bytes */
} Frame;

/*
 * The writer lives in a child of CurrentMemoryContext; deleting that context,
 * on error too, releases what the compression library allocated.
 */
extern FrameWriter *frame_writer_create(Codec codec, int level);
extern void frame_writer_add_row(FrameWriter *writer, const void *row, size_t len);
extern void frame_writer_append(FrameWriter *writer, const void *data, size_t len);
extern uint64 frame_writer_raw_bytes(const FrameWriter *writer);
extern void frame_writer_destroy(FrameWriter *writer);

/*
 * A frame ends in three steps, of which the second does the work.  Where it
 * may run in another thread, it uses nothing of the server.
 */
extern void frame_writer_prepare(FrameWriter *writer);
extern bool frame_writer_is_threadable(const FrameWriter *writer);
extern void frame_writer_complete(FrameWriter *writer);
extern void frame_writer_finish(FrameWriter *writer, Frame *frame);

#endif /* STEEP_FRAME_WRITER_H */
