/*
 * owned_fd.c
 *	  A file descriptor that is closed with the memory context it belongs to.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/owned_fd.h"
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

/* Give the descriptor to the caller. */
int
owned_fd_release(OwnedFd *owned)
{
	int fd = owned->fd;

	owned->fd = -1;
	return fd;
}

/* Close the descriptor before its time. */
void
owned_fd_close(OwnedFd *owned)
{
	if (owned->fd >= 0)
		close(owned->fd);
	owned->fd = -1;
}

/* The entries of an open directory; NULL with errno. Raises no error. */
DIR *
open_entries(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (fd >= 0 && dir == NULL)
	{
		int save_errno = errno;

		close(fd);
		errno = save_errno;
	}
	return dir;
}

static void
release_dir(void *arg)
{
	owned_dir_close(arg);
}

/* Own the entries of a directory in CurrentMemoryContext; keeps errno. */
OwnedDir *
owned_dir_create(int dirfd)
{
	OwnedDir *owned = palloc0_object(OwnedDir);

	owned->release.func = release_dir;
	owned->release.arg = owned;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &owned->release);
	owned->dir = open_entries(dirfd);
	return owned;
}

/* Close them before their time. */
void
owned_dir_close(OwnedDir *owned)
{
	if (owned->dir != NULL)
		closedir(owned->dir);
	owned->dir = NULL;
}
