/*
 * owned_fd.c
 *	  A file descriptor that is closed with the memory context it belongs to.
 */
#include "postgres.h"

#include <unistd.h>

#include "owned_fd.h"
#include "utils/palloc.h"

static void
release(void *arg)
{
	owned_fd_close(arg);
}

/* Own a descriptor, or none yet, in CurrentMemoryContext. */
OwnedFd *
owned_fd_create(int fd)
{
	OwnedFd *owned = palloc0_object(OwnedFd);

	owned->fd = fd;
	owned->release.func = release;
	owned->release.arg = owned;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &owned->release);
	return owned;
}

/* Own another descriptor; keeps errno, so that an open can be passed in. */
void
owned_fd_set(OwnedFd *owned, int fd)
{
	int save_errno = errno;

	owned_fd_close(owned);
	owned->fd = fd;
	errno = save_errno;
}

/* Close the descriptor before its time. */
void
owned_fd_close(OwnedFd *owned)
{
	if (owned->fd >= 0)
		close(owned->fd);
	owned->fd = -1;
}
