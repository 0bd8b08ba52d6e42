/*
 * verify.c
 *	  Compares a snapshot directory with its manifest, byte by byte.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/directory.h"
#include "miscadmin.h"
#include "base/owned_fd.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "files/verify.h"

#define READ_STEP ((size_t) 1024 * 1024)

/* What checking one snapshot needs. */
typedef struct Verification
{
	int dirfd;
	const Manifest *manifest;
	ProblemCallback report;
	void *arg;
	uint64 problems;
	char *buffer; /* READ_STEP bytes */
} Verification;

/* Report a problem of a file. */
static void
found_problem(Verification *v, const char *file, const char *what, const char *expected,
			  const char *found)
{
	SnapshotProblem problem = {file, what, expected, found};

	v->problems++;
	v->report(&problem, v->arg);
}

/* Open a file that the manifest names; false if it cannot be what is named. */
static bool
open_file(Verification *v, const ManifestFile *file, OwnedFd *fd)
{
	struct stat st;

	owned_fd_set(fd, openat(v->dirfd, file->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (fd->fd < 0 && errno == ENOENT)
		found_problem(v, file->name, "missing", NULL, NULL);
	else if (fd->fd < 0 && errno == ELOOP)
		found_problem(v, file->name, "a symbolic link", NULL, NULL);
	else if (fd->fd < 0 || fstat(fd->fd, &st) != 0)
		found_problem(v, file->name, "cannot be opened", NULL, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		found_problem(v, file->name, "not a regular file", NULL, NULL);
	else if ((uint64) st.st_size != file->stored_bytes)
		found_problem(v, file->name,
					  (uint64) st.st_size < file->stored_bytes ? "truncated" : "too long",
					  psprintf(UINT64_FORMAT " bytes", file->stored_bytes),
					  psprintf("%lld bytes", (long long) st.st_size));
	else
		return true;
	return false;
}

/* Whether sorted frames cover the file without a gap or an overlap. */
static bool
frames_tile(Verification *v, const ManifestFile *file, const ManifestFrame **frames)
{
	uint64 end;

	if (manifest_frames_tile(file, frames, &end))
		return true;
	found_problem(v, file->name, "frames do not cover the file",
				  psprintf(UINT64_FORMAT " bytes", file->stored_bytes),
				  psprintf(UINT64_FORMAT " bytes without gap or overlap", end));
	return false;
}

/* The digest of a part of a file; false, with errno, if it cannot be read. */
static bool
digest_frame(Verification *v, int fd, const ManifestFrame *frame, uint8 digest[DIGEST_BYTES])
{
	pg_cryptohash_ctx *ctx = digest_begin();
	uint64 done = 0;

	while (done < frame->stored_bytes)
	{
		size_t step = Min(READ_STEP, frame->stored_bytes - done);
		ssize_t got = pread(fd, v->buffer, step, frame->offset + done);

		CHECK_FOR_INTERRUPTS();
		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			errno = EIO; /* shrank while we read */
		if (got <= 0)
			break;
		digest_add(ctx, v->buffer, got);
		done += got;
	}
	if (done < frame->stored_bytes)
	{
		int save_errno = errno;

		pg_cryptohash_free(ctx);
		errno = save_errno;
		return false;
	}
	digest_end(ctx, digest);
	return true;
}

/* Read a frame and compare its digest. */
static void
verify_frame(Verification *v, const ManifestFile *file, int fd, const ManifestFrame *frame)
{
	uint8 digest[DIGEST_BYTES];
	char expected[DIGEST_HEX_SIZE];
	char found[DIGEST_HEX_SIZE];

	if (!digest_frame(v, fd, frame, digest))
	{
		found_problem(v, file->name,
					  psprintf("frame at offset " UINT64_FORMAT " cannot be read", frame->offset),
					  NULL, strerror(errno));
		return;
	}
	if (memcmp(digest, frame->sha256, DIGEST_BYTES) == 0)
		return;
	digest_to_hex(frame->sha256, expected);
	digest_to_hex(digest, found);
	found_problem(
		v, file->name,
		psprintf("frame at offset " UINT64_FORMAT " changed: SHA-256 differs", frame->offset),
		expected, found);
}

/* Check one file that the manifest names. */
static void
verify_file(Verification *v, const ManifestFile *file)
{
	OwnedFd *fd = owned_fd_create(-1);
	const ManifestFrame **frames;

	if (!open_file(v, file, fd))
		return;
	frames = manifest_sort_frames(file);
	if (!frames_tile(v, file, frames))
		return;
	for (int i = 0; i < file->nframes; i++)
		verify_frame(v, file, fd->fd, frames[i]);
}

/* The names that the manifest gives; a name given twice is a problem. */
static HTAB *
collect_names(Verification *v)
{
	HASHCTL ctl = {.keysize = NAME_MAX + 1, .entrysize = NAME_MAX + 1};
	HTAB *names;

	ctl.hcxt = CurrentMemoryContext;
	names = hash_create("steep_repl snapshot files", 256, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < v->manifest->nfiles; i++)
	{
		const char *name = v->manifest->files[i].name;
		bool found;

		if (strlen(name) > NAME_MAX)
			continue; /* cannot exist, hence is missing */
		hash_search(names, name, HASH_ENTER, &found);
		if (found)
			found_problem(v, name, "named twice in the manifest", NULL, NULL);
	}
	return names;
}

/* Report the files that nobody named. */
static void
find_extra_files(Verification *v)
{
	HTAB *names = collect_names(v);
	OwnedDir *entries = owned_dir_create(v->dirfd);
	struct dirent *entry;

	if (entries->dir == NULL)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not read the snapshot's directory: %m")));
	while ((entry = readdir(entries->dir)) != NULL)
	{
		const char *name = entry->d_name;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, MANIFEST_FILE) == 0 ||
			strcmp(name, MARKER_FILE) == 0)
			continue;
		if (hash_search(names, name, HASH_FIND, NULL) == NULL)
			found_problem(v, name, "not named in the manifest", NULL, NULL);
	}
	owned_dir_close(entries);
}

/* Check every file of an open directory; returns the number of problems. */
uint64
verify_files(int dirfd, const Manifest *manifest, ProblemCallback report, void *arg)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "steep_repl verify", ALLOCSET_DEFAULT_SIZES);
	MemoryContext per_file =
		AllocSetContextCreate(context, "steep_repl verify file", ALLOCSET_DEFAULT_SIZES);
	MemoryContext previous = MemoryContextSwitchTo(context);
	Verification v = {.dirfd = dirfd,
					  .manifest = manifest,
					  .report = report,
					  .arg = arg,
					  .buffer = palloc(READ_STEP)};

	find_extra_files(&v);
	for (int i = 0; i < manifest->nfiles; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(per_file);
		verify_file(&v, &manifest->files[i]);
		MemoryContextReset(per_file);
	}
	MemoryContextSwitchTo(previous);
	MemoryContextDelete(context);
	return v.problems;
}
