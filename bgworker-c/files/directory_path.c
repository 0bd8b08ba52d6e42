/*
 * directory_path.c
 *	  Which paths a role may write a snapshot to, or read one from.
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
static void
report_open_failure(const char *path, const char *problem)
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
		report_open_failure(path, problem);
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
		report_open_failure(path, problem);
	return fd;
}

/* Whether a normalized path lies below one of snapshot_directories. */
static bool
is_below_allowed(const char *path)
{
	char *list = pstrdup(steep_snapshot_directories);
	List *directories;
	ListCell *lc;

	if (!SplitDirectoriesString(list, ',', &directories))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("invalid list syntax in parameter \"steep_repl.snapshot_directories\"")));
	foreach (lc, directories)
	{
		const char *allowed = lfirst(lc);
		size_t len = strlen(allowed);

		if (allowed[0] == '/' && strncmp(path, allowed, len) == 0 && path[len] == '/')
			return true;
	}
	return false;
}

static void
refuse_path(const char *path, const char *role)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("path \"%s\" is not allowed", path),
		 errdetail(
			 "It is not below a directory of steep_repl.snapshot_directories (\"%s\"), and role \"%s\" lacks the privileges of %s.",
			 steep_snapshot_directories, GetUserNameFromId(GetUserId(), false), role),
		 errhint(
			 "Add its parent directory to steep_repl.snapshot_directories in postgresql.conf and reload.")));
}

/*
 * Refuse a path that the current role may not write a snapshot to, or where
 * none can be made: it must be absent or an empty directory.
 */
void
directory_check_write(const char *path)
{
	char *normal = directory_normalize(path);
	const char *problem;
	const char *name = strrchr(normal, '/') + 1;
	struct stat st;
	OwnedFd *directory;
	int parent;
	int saved_errno;
	int rc;

	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES) && !is_below_allowed(normal))
		refuse_path(path, "pg_write_server_files");

	parent = directory_open_parent(normal, &problem);
	if (parent < 0 && problem == NULL && errno == ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path),
				 errhint("Create its parent directory on the server first.")));
	if (parent < 0)
		report_open_failure(path, problem);
	rc = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW);
	saved_errno = errno;
	if (rc != 0 && saved_errno == ENOENT)
	{
		/* AT_EACCESS: the server's own rights are what counts. */
		rc = faccessat(parent, ".", W_OK | X_OK, AT_EACCESS);
		saved_errno = errno;
		close(parent);
		errno = saved_errno;
		if (rc != 0)
			ereport(
				ERROR,
				(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path),
				 errhint(
					 "The server's operating system user must be able to write its parent directory.")));
		return;
	}
	close(parent);
	errno = saved_errno;
	if (rc != 0)
		report_open_failure(path, NULL);

	directory = owned_fd_create(directory_open(path));
	if (!directory_is_empty(directory->fd))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_FILE),
						errmsg("directory \"%s\" exists and is not empty", path),
						errhint("Give a directory that does not exist yet, or empty it.")));
	if (faccessat(directory->fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not write to directory \"%s\": %m", path)));
	owned_fd_close(directory);
}

/*
 * Refuse to read a snapshot to a role that may not: it must be allowed to
 * read any file of the server, or be a member of the role that made the
 * snapshot, below an allowed directory. Without the creator, which only the
 * manifest tells, the first half is checked.
 */
void
directory_check_read_rights(const char *path, const char *creator)
{
	char *normal = directory_normalize(path);
	Oid creator_oid;

	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		return;
	if (!is_below_allowed(normal))
		refuse_path(path, "pg_read_server_files");
	if (creator == NULL)
		return;
	creator_oid = get_role_oid(creator, true);
	if (!OidIsValid(creator_oid) || !can_be_role(GetUserId(), creator_oid))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for snapshot \"%s\"", path),
						errdetail("It was made by role \"%s\".", creator),
						errhint("Become a member of that role, or of pg_read_server_files.")));
}
