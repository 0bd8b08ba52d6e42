/*
 * owned_fd.h
 *	  A file descriptor that is closed with the memory context it belongs to,
 *	  hence on error too.  For openat(), which the server's own descriptor
 *	  bookkeeping does not know.
 */
#ifndef STEEP_OWNED_FD_H
#define STEEP_OWNED_FD_H

#include "postgres.h"

#include <dirent.h>

typedef struct OwnedFd
{
	int fd; /* -1: none */
	MemoryContextCallback release;
} OwnedFd;

extern OwnedFd *owned_fd_create(int fd);
extern void owned_fd_set(OwnedFd *owned, int fd);
extern int owned_fd_release(OwnedFd *owned);
extern void owned_fd_close(OwnedFd *owned);

/* The same of the entries of a directory. */
typedef struct OwnedDir
{
	DIR *dir; /* NULL: none, errno says why */
	MemoryContextCallback release;
} OwnedDir;

extern DIR *open_entries(int dirfd);
extern OwnedDir *owned_dir_create(int dirfd);
extern void owned_dir_close(OwnedDir *owned);

#endif /* STEEP_OWNED_FD_H */
