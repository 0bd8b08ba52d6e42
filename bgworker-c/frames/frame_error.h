/*
 * frame_error.h
 *	  What is wrong with stored frames, as a thread can say it.
 */
#ifndef STEEP_FRAME_ERROR_H
#define STEEP_FRAME_ERROR_H

#include "postgres.h"

typedef enum FrameErrorKind
{
	FRAME_SOUND = 0,
	FRAME_STOPPED,    /* nobody wants it any more */
	FRAME_UNREADABLE, /* errnum */
	FRAME_TRUNCATED,
	FRAME_CHANGED, /* offset */
	FRAME_DAMAGED, /* reason */
	FRAME_UNENDED,
	FRAME_NO_MEMORY,
	FRAME_NO_DIGEST, /* reason */
} FrameErrorKind;

typedef struct FrameError
{
	FrameErrorKind kind;
	int errnum;
	uint64 offset;      /* of the frame in its file */
	const char *reason; /* a library's own words, which it does not free */
} FrameError;

pg_noreturn extern void frame_error_raise(const FrameError *error, const char *file);

#endif /* STEEP_FRAME_ERROR_H */
