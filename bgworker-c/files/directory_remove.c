/*
 * directory_remove.c
 *	  Removing the directory of a snapshot, and what it takes up until then.
 */
#include "files/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/owned_fd.h"

/* Names that we write: 4711.dat.zst, blob_4711.dat.zst, blobs_4711.toc, toc.dat, manifest.json, temporary ones. */
bool
directory_is_our_file(const char *name)
{
	const char *number = name + (strncmp(name, "blob_", 5) == 0 ? 5 : 0);
	size_t digits = strspn(number, "0123456789");
	const char *rest = number + digits;

	if (digits > 0)
		return strcmp(rest, ".dat") == 0 || strcmp(rest, ".dat.gz") == 0 ||
			   strcmp(rest, ".dat.lz4") == 0 || strcmp(rest, ".dat.zst") == 0;
	if (strncmp(name, "blobs_", 6) == 0)
		return strcmp(name + 6 + strspn(name + 6, "0123456789"), ".toc") == 0;
	return strcmp(name, TOC_FILE) == 0 || strcmp(name, MANIFEST_FILE) == 0 ||
		   strcmp(name, MANIFEST_FILE ".tmp") == 0 || strncmp(name, "frames.", 7) == 0;
}

/* Remove our files but the marker; false with errno if one stays. */
static bool
remove_files(int dirfd)
{
	DIR *dir = open_entries(dirfd);
	struct dirent *entry;
	int failure = 0;

	if (dir == NULL)
		return false;
	/* The manifest goes first, so that what is left is never a snapshot, also after a crash. */
	if ((unlinkat(dirfd, MANIFEST_FILE, 0) != 0 && errno != ENOENT) ||
		directory_sync_entries(dirfd) != 0)
		failure = errno;
	while ((entry = readdir(dir)) != NULL)
		if (directory_is_our_file(entry->d_name) && unlinkat(dirfd, entry->d_name, 0) != 0 &&
			errno != ENOENT)
			failure = errno;
	closedir(dir);
	errno = failure;
	return failure == 0;
}

/* Open the last component below its parent; errno as usual. */
static int
open_quietly(const char *path, int *parent)
{
	const char *problem;

	*parent = directory_open_parent(path, &problem);
	if (*parent < 0)
		return -1;
	return openat(*parent, strrchr(path, '/') + 1, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/*
 * Remove a job's files and, if the job made it, its directory. Raises no
 * error: also called while a process exits.
 */
RemoveResult
directory_remove(const char *path, const DirectoryMark *mark)
{
	int parent;
	int fd = open_quietly(path, &parent);
	RemoveResult result = REMOVE_DONE;
	bool created = false;

	if (fd < 0)
		result = errno == ENOENT ? REMOVE_ABSENT : REMOVE_FAILED;
	else if (!directory_has_marker(fd, mark, &created))
		result = REMOVE_NOT_OURS;
	else if (!remove_files(fd) || unlinkat(fd, MARKER_FILE, 0) != 0 ||
			 directory_sync_entries(fd) != 0)
		result = REMOVE_FAILED;
	/* Where somebody has put a file of his own it stays, and is no longer ours. */
	else if (created && unlinkat(parent, strrchr(path, '/') + 1, AT_REMOVEDIR) == 0 &&
			 directory_sync_parent(parent, fd) != 0)
		result = REMOVE_FAILED;

	{
		int saved_errno = errno;

		if (fd >= 0)
			close(fd);
		if (parent >= 0)
			close(parent);
		errno = saved_errno;
	}
	return result;
}

/* Bytes in a directory that carries this mark; -1 if there is none. */
int64
directory_bytes(const char *path, const DirectoryMark *mark)
{
	int parent;
	int fd = open_quietly(path, &parent);
	int64 bytes = -1;
	bool created;

	if (fd >= 0 && directory_has_marker(fd, mark, &created))
	{
		DIR *dir = open_entries(fd);
		struct dirent *entry;
		struct stat st;

		bytes = 0;
		while (dir != NULL && (entry = readdir(dir)) != NULL)
			if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
				bytes += st.st_size;
		if (dir != NULL)
			closedir(dir);
	}
	if (fd >= 0)
		close(fd);
	if (parent >= 0)
		close(parent);
	return bytes;
}
