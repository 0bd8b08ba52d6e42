/*
 * owned_fd.h
 *	  A file descriptor that is closed with the memory context it belongs to,
 *	  hence on error too.  For openat(), which the server's own descriptor
 *	  bookkeeping does not know.
 */
#ifndef STEEP_OWNED_FD_H
#define STEEP_OWNED_FD_H

#include "postgres.h"

typedef struct OwnedFd
{
	int fd; /* -1: none */
	MemoryContextCallback release;
} OwnedFd;

extern OwnedFd *owned_fd_create(int fd);
extern void owned_fd_set(OwnedFd *owned, int fd);
extern void owned_fd_close(OwnedFd *owned);

#endif /* STEEP_OWNED_FD_H */
