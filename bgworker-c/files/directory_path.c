/*
 * directory_path.c
 *	  Paths that users gave.
 *
 * Paths are walked component by component without following symbolic links,
 * so that what was checked is what gets opened.
 */
#include "files/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "base/roles.h"
#include "base/owned_fd.h"
#include "base/settings.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/varlena.h"

/* Opens for passing through only, so that parents need not be readable. */
#ifdef O_PATH
#define O_TRAVERSE (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#else
#define O_TRAVERSE (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#endif

/* A copy without trailing slashes; refuses what is not a plain absolute path. */
char *
directory_normalize(const char *path)
{
	char *result = pstrdup(path);
	size_t len = strlen(result);

	while (len > 1 && result[len - 1] == '/')
		result[--len] = '\0';

	if (len >= MAXPGPATH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("path is too long"),
				 errdetail("It has %zu bytes; at most %d are allowed.", len, MAXPGPATH - 1)));
	if (result[0] != '/')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("path \"%s\" is not absolute", path),
						errhint("The directory is on the server's host: give its full path.")));
	for (const char *part = result; part != NULL; part = strchr(part, '/'))
	{
		part++;
		if (*part == '/' || strncmp(part, "./", 2) == 0 || strcmp(part, ".") == 0 ||
			strncmp(part, "../", 3) == 0 || strcmp(part, "..") == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("path \"%s\" has an empty, \".\" or \"..\" component", path)));
	}
	if (len == 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the root directory cannot hold a snapshot")));
	return result;
}

static bool
is_same_directory(const struct stat *a, const char *other)
{
	struct stat b;

	return stat(other, &b) == 0 && a->st_dev == b.st_dev && a->st_ino == b.st_ino;
}

/* Whether this directory is where the server keeps its own files. */
static bool
is_server_directory(int fd)
{
	struct stat st;
	DIR *dir;
	struct dirent *entry;
	bool found;

	if (fstat(fd, &st) != 0)
		return true;
	found = is_same_directory(&st, DataDir) || is_same_directory(&st, "pg_wal");
	dir = opendir("pg_tblspc");
	while (!found && dir != NULL && (entry = readdir(dir)) != NULL)
	{
		char tablespace[MAXPGPATH];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(tablespace, sizeof(tablespace), "pg_tblspc/%s", entry->d_name);
		found = is_same_directory(&st, tablespace);
	}
	if (dir != NULL)
		closedir(dir);
	return found;
}

/*
 * Open the directory that holds the last component of a normalized path.
 * Returns -1 with *problem set (or errno, when it is NULL). Raises no error,
 * since clean-up at process exit comes here too.
 */
int
directory_open_parent(const char *path, const char **problem)
{
	int fd = open("/", O_TRAVERSE);
	const char *part = path + 1;
	const char *slash;

	*problem = NULL;
	while (fd >= 0 && (slash = strchr(part, '/')) != NULL)
	{
		char name[MAXPGPATH];
		int next;
		int saved_errno;

		strlcpy(name, part, Min((size_t) (slash - part) + 1, sizeof(name)));
		next = openat(fd, name, O_TRAVERSE);
		saved_errno = errno;
		if (next < 0 && (saved_errno == ELOOP || saved_errno == ENOTDIR))
		{
			struct stat st;

			if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
				*problem = "it leads through a symbolic link";
		}
		close(fd);
		fd = next;
		errno = saved_errno;
		if (fd >= 0 && is_server_directory(fd))
		{
			*problem = "it is inside the server's data directory or a tablespace";
			close(fd);
			return -1;
		}
		part = slash + 1;
	}
	return fd;
}

/* Raise what directory_open_parent, or an open of the last component, found. */
void
directory_report_failure(const char *path, const char *problem)
{
	if (problem != NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("path \"%s\" is not allowed: %s", path, problem),
			 errhint("Choose a directory of real path components outside the data directory.")));
	ereport(ERROR,
			(errcode_for_file_access(), errmsg("could not open directory \"%s\": %m", path)));
}

/* Whether the last component is a symbolic link. */
static bool
is_symlink(int parent, const char *name)
{
	struct stat st;

	return fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* Open an existing directory for reading; the caller closes it. */
int
directory_open(const char *path)
{
	char *normal = directory_normalize(path);
	const char *problem;
	const char *name = strrchr(normal, '/') + 1;
	int parent = directory_open_parent(normal, &problem);
	int fd;

	if (parent < 0)
		directory_report_failure(path, problem);
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && is_symlink(parent, name))
		problem = "it is a symbolic link";
	if (fd >= 0 && is_server_directory(fd))
	{
		problem = "it is the server's data directory or a tablespace";
		close(fd);
		fd = -1;
	}
	{
		int saved_errno = errno;

		close(parent);
		errno = saved_errno;
	}
	if (fd < 0)
		directory_report_failure(path, problem);
	return fd;
}
