/*
 * apply_archive.c
 *	  Reads a directory that somebody says is a snapshot. What it holds is
 *	  believed only as far as its digests go.
 */
#include "apply/apply.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/directory.h"
#include "miscadmin.h"
#include "base/owned_fd.h"

#define READ_STEP ((size_t) 1024 * 1024)

/* No table of contents of ours is so large: it would not fit into memory. */
#define MAX_TOC_BYTES ((uint64) 4 * 1024 * 1024 * 1024)

/* The manifest of an open directory; raises what is wrong with it. */
Manifest *
apply_read_manifest(int dirfd, const char *path)
{
	SnapshotProblem problem;
	Manifest *manifest = manifest_read(dirfd, &problem);

	if (manifest == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("directory \"%s\" holds no sound snapshot", path),
						problem.found ? errdetail("%s: %s (%s).", problem.file, problem.problem,
												  problem.found)
									  : errdetail("%s: %s.", problem.file, problem.problem),
						errhint("Give a directory that start_snapshot has finished.")));
	return manifest;
}

typedef struct NamedFile
{
	char name[NAME_MAX + 1]; /* the key */
	const ManifestFile *file;
} NamedFile;

/* The manifest's files by name, in CurrentMemoryContext. */
HTAB *
apply_index_files(const Manifest *manifest)
{
	HASHCTL ctl = {.keysize = NAME_MAX + 1, .entrysize = sizeof(NamedFile)};
	HTAB *files;

	ctl.hcxt = CurrentMemoryContext;
	files = hash_create("steep_repl manifest files", 256, &ctl,
						HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < manifest->nfiles; i++)
	{
		NamedFile *entry;

		if (strlen(manifest->files[i].name) > NAME_MAX)
			continue; /* no such file can exist */
		entry = hash_search(files, manifest->files[i].name, HASH_ENTER, NULL);
		entry->file = &manifest->files[i];
	}
	return files;
}

/* A file of the manifest; raises if there is none of that name. */
const ManifestFile *
apply_find_file(HTAB *files, const char *name)
{
	NamedFile *entry = strlen(name) > NAME_MAX ? NULL : hash_search(files, name, HASH_FIND, NULL);

	if (entry == NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("the manifest does not name file \"%s\"", name)));
	return entry->file;
}

/* The contents of toc.dat, which must be what the manifest says. */
ByteBuffer
apply_read_toc_file(int dirfd, uint64 bytes, const uint8 *sha256)
{
	OwnedFd *file =
		owned_fd_create(openat(dirfd, TOC_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	ByteBuffer text;
	uint8 found[DIGEST_BYTES];

	if (file->fd < 0 && errno == ELOOP)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("snapshot file \"%s\" is a symbolic link", TOC_FILE)));
	if (file->fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", TOC_FILE)));
	if (bytes > MAX_TOC_BYTES)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("\"%s\" is too large: " UINT64_FORMAT " bytes", TOC_FILE, bytes)));
	bytebuffer_init(&text, READ_STEP);
	while (text.len <= bytes)
	{
		ssize_t got;

		CHECK_FOR_INTERRUPTS();
		bytebuffer_reserve(&text, READ_STEP);
		got = read(file->fd, text.data + text.len, READ_STEP);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("could not read \"%s\": %m", TOC_FILE)));
		if (got == 0)
			break;
		text.len += got;
	}
	owned_fd_close(file);
	digest_bytes(text.data, text.len, found);
	if (text.len != bytes || memcmp(found, sha256, DIGEST_BYTES) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("\"%s\" is not what the manifest says", TOC_FILE),
						errhint("steep_repl.verify_snapshot(path) lists what is wrong.")));
	return text;
}
