/*
 * child_pump.h
 *	  The inner side of child_process.h: moving data to and from a child.
 */
#ifndef STEEP_CHILD_PUMP_H
#define STEEP_CHILD_PUMP_H

#include "postgres.h"

#include "base/bytebuffer.h"
#include "datatype/timestamp.h"

/* So much of the beginning and of the end of its complaints is kept. */
#define CHILD_ERROR_BYTES 1024

typedef struct ChildRequest
{
	const char *const *argv; /* NULL-terminated; [0] is the program's path */
	const char *const *envp; /* NULL-terminated */
	const char *input;
	size_t input_len;
	void (*tick)(void *arg); /* called about 5 times a second, or NULL */
	void *tick_arg;
} ChildRequest;

typedef struct ChildResult
{
	int spawn_errno;   /* not 0: the program could not be started */
	int status;        /* as of waitpid() */
	ByteBuffer output; /* of the caller's memory context */
	char *errors;      /* what it complained, bounded */
} ChildResult;

typedef struct Child
{
	const ChildRequest *request;
	ChildResult *result;
	pid_t pid; /* 0 when there is none to end */
	int input; /* our ends of the pipes; -1 when closed */
	int output;
	int errors;
	int theirs[3];                /* the child's ends, until it has them */
	size_t written;               /* of the input */
	char head[CHILD_ERROR_BYTES]; /* of what it complained */
	size_t head_len;
	char tail[CHILD_ERROR_BYTES];
	size_t tail_len;
	bool cut; /* something between them was dropped */
	TimestampTz last_tick;
} Child;

extern void child_close(int *fd);
extern void child_pump(Child *child);
extern void child_handle_interrupts(Child *child);
extern uint32 child_wait_event(void);
extern char *child_errors(const Child *child);

#endif /* STEEP_CHILD_PUMP_H */
