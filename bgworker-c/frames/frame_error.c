/*
 * frame_error.c
 *	  What is wrong with stored frames, as a thread can say it.
 *
 * Frames are read and decompressed in a thread, which must not raise errors:
 * it leaves one of these, and the process's own thread raises it.
 */
#include "frames/frame_error.h"

/* Raise the error, which is of this snapshot file. */
void
frame_error_raise(const FrameError *error, const char *file)
{
	switch (error->kind)
	{
		case FRAME_SOUND:
		case FRAME_STOPPED:
			elog(ERROR, "snapshot file \"%s\" has no error", file);
			break;
		case FRAME_UNREADABLE:
			errno = error->errnum;
			ereport(ERROR, (errcode_for_file_access(),
							errmsg("could not read snapshot file \"%s\": %m", file)));
			break;
		case FRAME_TRUNCATED:
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("snapshot file \"%s\" is truncated", file)));
			break;
		case FRAME_CHANGED:
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("frame at offset " UINT64_FORMAT
								   " of snapshot file \"%s\" has changed: SHA-256 differs",
								   error->offset, file),
							errhint("steep_repl.verify_snapshot(path) lists what is wrong.")));
			break;
		case FRAME_DAMAGED:
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("compressed data is damaged: invalid frame"),
							errdetail("The compression library says: %s.", error->reason)));
			break;
		case FRAME_UNENDED:
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("compressed data is damaged: unexpected end")));
			break;
		case FRAME_NO_MEMORY:
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
							errdetail("The compression library could not get memory.")));
			break;
		case FRAME_NO_DIGEST:
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
							errmsg("could not compute SHA-256: %s", error->reason)));
			break;
	}
	pg_unreachable();
}
