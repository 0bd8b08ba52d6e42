/*
 * directory.c
 *	  Making and marking the directory of one snapshot.
 *
 * The marker names the job and a random token that only our private table and
 * shared memory know. A row could be edited to point anywhere; nothing is
 * removed unless the directory itself carries the marker of that very job.
 */
#include "files/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "base/owned_fd.h"
#include "storage/fd.h"

#define MARKER_LEN 256

/* The contents of a marker, but for its end. */
static void
format_marker(const DirectoryMark *mark, bool created, char *out)
{
	snprintf(out, MARKER_LEN,
			 "{\"system_identifier\":\"" UINT64_FORMAT "\",\"database_oid\":%u,"
			 "\"operation_id\":\"" INT64_FORMAT "\",\"token\":\"%s\",\"created_directory\":%s",
			 GetSystemIdentifier(), mark->database, mark->operation_id, mark->token,
			 created ? "true" : "false");
}

/* How it ends: who may read the directory, if the marker says that. */
#define READER_FORMAT ",\"reader_oid\":%u"

/* A marker's text; false if there is none. */
static bool
read_marker(int dirfd, char *text)
{
	/* Whoever may write to the directory may have put anything there: a FIFO would be waited for. */
	int fd = openat(dirfd, MARKER_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return false;
	n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, text, MARKER_LEN - 1) : -1;
	close(fd);
	text[Max(n, 0)] = '\0';
	return n > 0;
}

/* Whether a directory carries this mark, whoever may read it; *created as the marker has it. */
bool
directory_has_marker(int dirfd, const DirectoryMark *mark, bool *created)
{
	char found[MARKER_LEN];
	char expected[MARKER_LEN];

	if (!read_marker(dirfd, found))
		return false;
	for (int i = 0; i <= 1; i++)
	{
		size_t len;

		format_marker(mark, i == 1, expected);
		len = strlen(expected);
		*created = (i == 1);
		if (strncmp(found, expected, len) == 0 && (found[len] == '}' || found[len] == ','))
			return true;
	}
	return false;
}

/* The role that the marker allows to read the directory, InvalidOid for none. Roles of another cluster are none of ours. */
Oid
directory_reader(int dirfd)
{
	char text[MARKER_LEN];
	char here[64];
	char *end;
	Oid reader;

	snprintf(here, sizeof(here), "{\"system_identifier\":\"" UINT64_FORMAT "\",",
			 GetSystemIdentifier());
	if (!read_marker(dirfd, text) || strncmp(text, here, strlen(here)) != 0)
		return InvalidOid;
	end = strrchr(text, ',');
	return sscanf(end, READER_FORMAT "}", &reader) == 1 ? reader : InvalidOid;
}

/* Only . and .. are in it. */
bool
directory_is_empty(int dirfd)
{
	DIR *dir = open_entries(dirfd);
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

/*
 * Make the entries of a directory durable; -1 with errno. The descriptor may be
 * one for passing through only, which cannot be synced.
 */
int
directory_sync_entries(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = fd < 0 ? -1 : pg_fsync(fd);
	int saved_errno = errno;

	if (fd >= 0)
		close(fd);
	errno = saved_errno;
	return result;
}

/* Give a synced file its final name, durably. */
void
directory_commit_file(int dirfd, const char *temporary, const char *name)
{
	if (renameat(dirfd, temporary, dirfd, name) != 0 || directory_sync_entries(dirfd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not rename snapshot file \"%s\" to \"%s\": %m", temporary, name)));
}

/* Make the last component of a path; false if it is there already. */
static bool
make_last(int parent, const char *name, const char *path)
{
	if (parent >= 0 && mkdirat(parent, name, 0700) == 0)
		return true;
	if (parent < 0 || errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path)));
	return false;
}

/*
 * A parent that may be written, but not read, cannot be synced by itself: then
 * all of its file system is.
 */
int
directory_sync_parent(int parent, int child)
{
	int result = directory_sync_entries(parent);

#ifdef HAVE_SYNCFS
	if (result != 0 && errno == EACCES)
		result = enableFsync ? syncfs(child) : 0;
#endif
	return result;
}

/*
 * Make the directory, or take over an empty one, and mark it as this job's.
 * Returns it open. It and its marker are on disk before anything else is.
 */
int
directory_create(const char *path, const DirectoryMark *mark)
{
	char *normal = directory_normalize(path);
	const char *problem;
	char marker[MARKER_LEN];
	OwnedFd *parent;
	OwnedFd *directory;
	bool created;

	directory_check_write(path);
	parent = owned_fd_create(directory_open_parent(normal, &problem));
	created = make_last(parent->fd, strrchr(normal, '/') + 1, path);
	directory = owned_fd_create(directory_open(path));
	if (!directory_is_empty(directory->fd))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_FILE),
						errmsg("directory \"%s\" exists and is not empty", path)));
	format_marker(mark, created, marker);
	if (OidIsValid(mark->reader))
		snprintf(marker + strlen(marker), MARKER_LEN - strlen(marker), READER_FORMAT, mark->reader);
	strlcat(marker, "}\n", sizeof(marker));
	directory_write_file(directory->fd, MARKER_FILE, marker, strlen(marker));
	if (directory_sync_entries(directory->fd) != 0 ||
		(created && directory_sync_parent(parent->fd, directory->fd) != 0))
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not fsync directory \"%s\": %m", path)));
	owned_fd_close(parent);
	return owned_fd_release(directory);
}

/* Open the directory of a running job, making sure that it still is. */
int
directory_open_marked(const char *path, const DirectoryMark *mark)
{
	OwnedFd *directory = owned_fd_create(directory_open(path));
	bool created;

	if (!directory_has_marker(directory->fd, mark, &created))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("directory \"%s\" no longer belongs to this operation", path),
						errdetail("Its marker file \"%s\" is missing or names another operation.",
								  MARKER_FILE)));
	return owned_fd_release(directory);
}
