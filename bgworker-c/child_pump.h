/*
 * child_pump.h
 *	  The inner side of child_process.h: moving data to and from a child.
 */
#ifndef STEEP_CHILD_PUMP_H
#define STEEP_CHILD_PUMP_H

#include "postgres.h"

#include "child_process.h"
#include "datatype/timestamp.h"

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
