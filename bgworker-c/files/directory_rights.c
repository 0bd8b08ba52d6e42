/*
 * directory_rights.c
 *	  Which paths a role may write a snapshot to, or read one from.
 */
#include "files/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "files/manifest_read.h"
#include "miscadmin.h"
#include "base/roles.h"
#include "base/owned_fd.h"
#include "base/settings.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/varlena.h"

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

/* The parent of a path, opened. */
static int
open_parent(const char *path, const char *normal)
{
	const char *problem;
	int parent = directory_open_parent(normal, &problem);

	if (parent < 0 && problem == NULL && errno == ENOENT)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path),
				 errhint("Create its parent directory on the server first.")));
	if (parent < 0)
		directory_report_failure(path, problem);
	return parent;
}

/* Whether a path is there. If it is absent, the server must be able to make it. */
static bool
path_exists(const char *path, const char *normal)
{
	int parent = open_parent(path, normal);
	struct stat st;
	bool exists = fstatat(parent, strrchr(normal, '/') + 1, &st, AT_SYMLINK_NOFOLLOW) == 0;
	int looked = exists ? 0 : errno;
	/* AT_EACCESS: the server's own rights are what counts. */
	int created =
		looked == ENOENT && faccessat(parent, ".", W_OK | X_OK, AT_EACCESS) != 0 ? errno : 0;

	close(parent);
	errno = created;
	if (created != 0)
		ereport(
			ERROR,
			(errcode_for_file_access(), errmsg("could not create directory \"%s\": %m", path),
			 errhint(
				 "The server's operating system user must be able to write its parent directory.")));
	errno = looked;
	if (looked != 0 && looked != ENOENT)
		directory_report_failure(path, NULL);
	return exists;
}

/* Refuse a path that the current role may not write a snapshot to. */
void
directory_check_write_rights(const char *path)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES) &&
		!is_below_allowed(directory_normalize(path)))
		refuse_path(path, "pg_write_server_files");
}

/* The same, and one where none can be made: it must be absent or an empty directory. */
void
directory_check_write(const char *path)
{
	char *normal = directory_normalize(path);
	OwnedFd *directory;

	directory_check_write_rights(path);
	if (!path_exists(path, normal))
		return;
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
 * The role that made a snapshot, or InvalidOid. In its own cluster a role that was made
 * later under the same name is somebody else; in another one, the name is all there is.
 */
static Oid
creator_of(const Manifest *manifest)
{
	Oid role = get_role_oid(manifest->creator, true);
	char *here = psprintf(UINT64_FORMAT, GetSystemIdentifier());

	if (manifest->creator_oid != 0 && manifest->creator_oid != role &&
		strcmp(manifest->system_identifier, here) == 0)
		return InvalidOid;
	return role;
}

/* Whether the caller is, or is a member of, the role that has fetched a snapshot from elsewhere. */
static bool
was_fetched_by_caller(const char *path)
{
	OwnedFd *directory = owned_fd_create(directory_open(path));
	Oid reader = directory_reader(directory->fd);

	owned_fd_close(directory);
	return OidIsValid(reader) && can_be_role(GetUserId(), reader);
}

/*
 * Refuse to read a snapshot to a role that may not: it must be allowed to
 * read any file of the server, or be a member of the role that made the
 * snapshot, or fetched it, below an allowed directory. Without the manifest, which tells the
 * role, the first half is checked.
 */
void
directory_check_read_rights(const char *path, const Manifest *manifest)
{
	char *normal = directory_normalize(path);
	Oid creator;

	if (has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		return;
	if (!is_below_allowed(normal))
		refuse_path(path, "pg_read_server_files");
	if (manifest == NULL)
		return;
	creator = creator_of(manifest);
	if (!(OidIsValid(creator) && can_be_role(GetUserId(), creator)) && !was_fetched_by_caller(path))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for snapshot \"%s\"", path),
						errdetail("It was made by role \"%s\".", manifest->creator),
						errhint("Become a member of that role, or of pg_read_server_files.")));
}
