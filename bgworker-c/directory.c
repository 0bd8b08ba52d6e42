/*
 * directory.c
 *	  Making, marking and removing the directory of one snapshot.
 *
 * The marker names the job and a random token that only our private table and
 * shared memory know. A row could be edited to point anywhere; nothing is
 * removed unless the directory itself carries the marker of that very job.
 */
#include "directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "steep_repl.h"
#include "storage/fd.h"

#define MARKER_LEN 256

/* The exact contents of a marker. */
static void
format_marker(const DirectoryMark *mark, bool created, char *out)
{
	snprintf(out, MARKER_LEN,
			 "{\"system_identifier\":\"" UINT64_FORMAT "\",\"database_oid\":%u,"
			 "\"operation_id\":\"" INT64_FORMAT "\",\"token\":\"%s\",\"created_directory\":%s}\n",
			 GetSystemIdentifier(), mark->database, mark->operation_id, mark->token,
			 created ? "true" : "false");
}

/* Whether a directory carries this mark; *created as the marker has it. */
static bool
has_marker(int dirfd, const DirectoryMark *mark, bool *created)
{
	char found[MARKER_LEN] = "";
	char expected[MARKER_LEN];
	int fd = openat(dirfd, MARKER_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, found, sizeof(found) - 1);
	close(fd);
	if (n <= 0)
		return false;
	for (int i = 0; i <= 1; i++)
	{
		format_marker(mark, i == 1, expected);
		*created = (i == 1);
		if (strcmp(found, expected) == 0)
			return true;
	}
	return false;
}

/* Only . and .. are in it. */
bool
directory_is_empty(int dirfd)
{
	DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	bool empty = true;

	if (dir == NULL)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read directory: %m")));
	while (empty && (entry = readdir(dir)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	closedir(dir);
	return empty;
}

/*
 * For errcode(): a quota or a limit on the size of files is a full disk too,
 * to whoever must do something about it.
 */
int
directory_write_errcode(void)
{
	if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
		return errcode(ERRCODE_DISK_FULL);
	return errcode_for_file_access();
}

/* Write and sync a new file of ours; never over an existing one. */
void
directory_write_file(int dirfd, const char *name, const void *data, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	const char *p = data;

	while (fd >= 0 && len > 0)
	{
		ssize_t n = write(fd, p, Min(len, (size_t) 1 << 26));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;
			break;
		}
		p += n;
		len -= n;
	}
	if (fd < 0 || len > 0 || pg_fsync(fd) != 0)
	{
		int saved_errno = errno;

		if (fd >= 0)
			close(fd);
		errno = saved_errno;
		ereport(ERROR, (directory_write_errcode(),
						errmsg("could not write snapshot file \"%s\": %m", name)));
	}
	close(fd);
}

/* Give a synced file its final name, durably. */
void
directory_commit_file(int dirfd, const char *temporary, const char *name)
{
	if (renameat(dirfd, temporary, dirfd, name) != 0 || pg_fsync(dirfd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename snapshot file \"%s\" to \"%s\": %m", temporary, name)));
}

/*
 * Make the directory, or take over an empty one, and mark it as this job's.
 * Returns it open. The marker is on disk before anything else is.
 */
int
directory_create(const char *path, const DirectoryMark *mark)
{
	char *normal = directory_normalize(path);
	const char *problem;
	char marker[MARKER_LEN];
	int parent;
	int fd;
	bool created;

	directory_check_write(path);
	parent = directory_open_parent(normal, &problem);
	created = parent >= 0 && mkdirat(parent, strrchr(normal, '/') + 1, 0700) == 0;
	if (!created && (parent < 0 || errno != EEXIST))
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path)));
	(void) pg_fsync(parent);
	close(parent);

	fd = directory_open(path);
	if (!directory_is_empty(fd))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_FILE),
						errmsg("directory \"%s\" exists and is not empty", path)));
	format_marker(mark, created, marker);
	directory_write_file(fd, MARKER_FILE, marker, strlen(marker));
	if (pg_fsync(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not fsync directory \"%s\": %m", path)));
	return fd;
}

/* Open the directory of a running job, making sure that it still is. */
int
directory_open_marked(const char *path, const DirectoryMark *mark)
{
	int fd = directory_open(path);
	bool created;

	if (!has_marker(fd, mark, &created))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("directory \"%s\" no longer belongs to this operation", path),
						errdetail("Its marker file \"%s\" is missing or names another operation.",
								  MARKER_FILE)));
	return fd;
}

/* Names that we write: 4711.dat.zst, toc.dat, manifest.json, temporary ones. */
static bool
is_our_file(const char *name)
{
	size_t digits = strspn(name, "0123456789");
	const char *rest = name + digits;

	if (digits > 0)
		return strcmp(rest, ".dat") == 0 || strcmp(rest, ".dat.gz") == 0 ||
			   strcmp(rest, ".dat.lz4") == 0 || strcmp(rest, ".dat.zst") == 0;
	return strcmp(name, TOC_FILE) == 0 || strcmp(name, MANIFEST_FILE) == 0 ||
		   strcmp(name, MANIFEST_FILE ".tmp") == 0 || strncmp(name, "frames.", 7) == 0;
}

/* Remove our files but the marker; false with errno if one stays. */
static bool
remove_files(int dirfd)
{
	DIR *dir = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *entry;
	int failure = 0;

	if (dir == NULL)
		return false;
	/* The manifest goes first, so that what is left is never a snapshot. */
	if (unlinkat(dirfd, MANIFEST_FILE, 0) != 0 && errno != ENOENT)
		failure = errno;
	while ((entry = readdir(dir)) != NULL)
		if (is_our_file(entry->d_name) && unlinkat(dirfd, entry->d_name, 0) != 0 && errno != ENOENT)
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
	else if (!has_marker(fd, mark, &created))
		result = REMOVE_NOT_OURS;
	else if (!remove_files(fd) || unlinkat(fd, MARKER_FILE, 0) != 0)
		result = REMOVE_FAILED;
	else if (created)
		(void) unlinkat(parent, strrchr(path, '/') + 1, AT_REMOVEDIR);

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

	if (fd >= 0 && has_marker(fd, mark, &created))
	{
		DIR *dir = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
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
