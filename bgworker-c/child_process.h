/*
 * child_process.h
 *	  Runs a program as a child of this backend: text into its standard
 *	  input, its output into memory, and no child left behind.
 */
#ifndef STEEP_CHILD_PROCESS_H
#define STEEP_CHILD_PROCESS_H

#include "postgres.h"

#include "bytebuffer.h"

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

extern void child_process_run(const ChildRequest *request, ChildResult *result);

#endif /* STEEP_CHILD_PROCESS_H */
