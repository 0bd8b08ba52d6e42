/*
 * large_object.c
 *	  Large objects into their files, which are pg_dump's.
 */
#include "snapshot/large_object.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/fmgrprotos.h"
#include "varatt.h"

/* So much at a time; a frame is a multiple of it, as it is of the rows of pg_largeobject. */
#define PIECE_BYTES (256 * 1024)

/* Read an object on the active snapshot. lo_get() checks the requester's right to. */
static void
read_object(Oid object, RowSink add_bytes)
{
	size_t got = PIECE_BYTES;

	for (int64 offset = 0; got == PIECE_BYTES; offset += got)
	{
		bytea *piece;

		CHECK_FOR_INTERRUPTS();
		piece =
			DatumGetByteaPP(DirectFunctionCall3(be_lo_get_fragment, ObjectIdGetDatum(object),
												Int64GetDatum(offset), Int32GetDatum(PIECE_BYTES)));
		got = VARSIZE_ANY_EXHDR(piece);
		if (got > 0)
			add_bytes(VARDATA_ANY(piece), got);
		pfree(piece);
	}
}

/* Copy an object into its file, which is closed. One without bytes has a frame as well. */
void
large_object_copy(DataFile *file, FramePipeline *pipeline, RowSink add_bytes)
{
	read_object(file->object, add_bytes);
	frame_pipeline_drain(pipeline);
	if (!file->has_frame)
		frame_pipeline_end_frame(pipeline);
	frame_pipeline_drain(pipeline);
	pg_flush_data(file->fd, 0, 0);
	data_file_close(file);
}
