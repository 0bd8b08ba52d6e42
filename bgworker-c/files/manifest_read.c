/*
 * manifest_read.c
 *	  Reads a snapshot's manifest.json, which may be damaged or hostile.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytebuffer.h"
#include "files/directory.h"
#include "files/manifest_read.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "base/owned_fd.h"
#include "utils/memutils.h"

/* Four million frames, or large objects, take about this much; more is not ours. */
#define MAX_MANIFEST_BYTES ((size_t) 1024 * 1024 * 1024)
#define READ_STEP ((size_t) 1024 * 1024)

/* How the file ends: its own digest, of everything before DIGEST_KEY. */
#define DIGEST_KEY "\"sha256\":\""
#define DIGEST_END "\"}\n"
#define DIGEST_TAIL_BYTES (strlen(DIGEST_KEY) + 2 * DIGEST_BYTES + strlen(DIGEST_END))

/* Describe what is wrong with the manifest; always false. */
static bool
wrong(SnapshotProblem *problem, const char *what, const char *expected, const char *found)
{
	problem->file = MANIFEST_FILE;
	problem->problem = what;
	problem->expected = expected;
	problem->found = found;
	return false;
}

/* Open the manifest if it is a regular file of a believable size. */
static bool
open_manifest(int dirfd, const char *name, OwnedFd *file, SnapshotProblem *problem)
{
	struct stat st;

	owned_fd_set(file, openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (file->fd < 0 && errno == ENOENT)
		return wrong(problem, "missing: not a finished snapshot", NULL, NULL);
	if (file->fd < 0 || fstat(file->fd, &st) != 0)
		return wrong(problem, "cannot be opened", NULL, pstrdup(strerror(errno)));
	if (!S_ISREG(st.st_mode))
		return wrong(problem, "not a regular file", NULL, NULL);
	if ((uint64) st.st_size > MAX_MANIFEST_BYTES)
		return wrong(problem, "too large", psprintf("at most %zu bytes", MAX_MANIFEST_BYTES),
					 psprintf("%lld bytes", (long long) st.st_size));
	return true;
}

/* Read the file to its end. */
static bool
read_manifest(OwnedFd *file, ByteBuffer *text, SnapshotProblem *problem)
{
	for (;;)
	{
		ssize_t got;

		CHECK_FOR_INTERRUPTS();
		bytebuffer_reserve(text, READ_STEP);
		got = read(file->fd, text->data + text->len, READ_STEP);
		if (got == 0)
			return true;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return wrong(problem, "cannot be read", NULL, pstrdup(strerror(errno)));
		text->len += got;
		if (text->len > MAX_MANIFEST_BYTES)
			return wrong(problem, "too large", NULL, NULL);
	}
}

/* Check the digest that ends the file. */
static bool
check_digest(const ByteBuffer *text, SnapshotProblem *problem)
{
	const char *tail;
	const char *hex;
	uint8 expected[DIGEST_BYTES];
	uint8 found[DIGEST_BYTES];
	char *expected_hex = palloc(DIGEST_HEX_SIZE);
	char *found_hex = palloc(DIGEST_HEX_SIZE);

	if (text->len < DIGEST_TAIL_BYTES)
		return wrong(problem, "truncated: does not end with its SHA-256", NULL, NULL);
	tail = text->data + text->len - DIGEST_TAIL_BYTES;
	hex = tail + strlen(DIGEST_KEY);
	if (memcmp(tail, DIGEST_KEY, strlen(DIGEST_KEY)) != 0 ||
		memcmp(hex + 2 * DIGEST_BYTES, DIGEST_END, strlen(DIGEST_END)) != 0 ||
		!digest_from_hex(hex, 2 * DIGEST_BYTES, expected))
		return wrong(problem, "truncated: does not end with its SHA-256", NULL, NULL);

	digest_bytes(text->data, tail - text->data, found);
	if (memcmp(expected, found, DIGEST_BYTES) == 0)
		return true;
	digest_to_hex(expected, expected_hex);
	digest_to_hex(found, found_hex);
	return wrong(problem, "changed: SHA-256 differs", expected_hex, found_hex);
}

/* The text, which is UTF-8 in any database, in the server's encoding. */
static bool
convert_text(ByteBuffer *text, SnapshotProblem *problem)
{
	char *converted;

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return true;
	if (!pg_verify_mbstr(PG_UTF8, text->data, (int) text->len, true))
		return wrong(problem, "not valid UTF-8", NULL, NULL);
	converted = pg_any_to_server(text->data, (int) text->len, PG_UTF8);
	if (converted != text->data)
	{
		text->data = converted;
		text->len = strlen(converted);
	}
	return true;
}

/* Refuse the manifest of a later version of this extension. */
static void
check_format_version(const Manifest *manifest)
{
	if (manifest->format_version == MANIFEST_FORMAT_VERSION)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("snapshot has format version " UINT64_FORMAT ", which is not supported",
					manifest->format_version),
			 errdetail("This version of steep_repl reads version %d.", MANIFEST_FORMAT_VERSION),
			 errhint("Update steep_repl to version %s or later.", manifest->extension_version)));
}

/* Whether a name can be that of a data file, and of nothing outside. */
static bool
is_plain_name(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL &&
		   strcmp(name, MANIFEST_FILE) != 0;
}

/* Check what the types do not say, and give each file its frames. */
static bool
check_files(Manifest *manifest, SnapshotProblem *problem)
{
	for (int i = 0; i < manifest->nfiles; i++)
	{
		ManifestFile *file = &manifest->files[i];

		if (!is_plain_name(file->name))
			return wrong(problem, "names an invalid file", NULL, file->name);
		if (file->frames != NULL)
			continue;
		file->frames = palloc0_object(ManifestFrame);
		file->nframes = 1;
		file->frames[0].stored_bytes = file->stored_bytes;
		memcpy(file->frames[0].sha256, file->sha256, DIGEST_BYTES);
	}
	return true;
}

Manifest *
manifest_read(int dirfd, SnapshotProblem *problem)
{
	return manifest_read_file(dirfd, MANIFEST_FILE, problem);
}

/*
 * The manifest of an open directory, or what is to become it, in CurrentMemoryContext,
 * with its own digest checked; or NULL and what is wrong with it.
 */
Manifest *
manifest_read_file(int dirfd, const char *name, SnapshotProblem *problem)
{
	OwnedFd *file = owned_fd_create(-1);
	ByteBuffer text;
	Manifest *manifest = NULL;
	const char *reason;
	uint8 sha256[DIGEST_BYTES];

	bytebuffer_init(&text, READ_STEP);
	if (open_manifest(dirfd, name, file, problem) && read_manifest(file, &text, problem) &&
		check_digest(&text, problem))
	{
		digest_bytes(text.data, text.len, sha256);
		if (convert_text(&text, problem))
		{
			manifest = manifest_parse(text.data, text.len, &reason);
			if (manifest == NULL)
				wrong(problem, "not a valid manifest", NULL, reason);
		}
	}
	owned_fd_close(file);
	pfree(text.data);
	if (manifest == NULL)
		return NULL;
	memcpy(manifest->sha256, sha256, DIGEST_BYTES);
	check_format_version(manifest);
	return check_files(manifest, problem) ? manifest : NULL;
}
