/*
 * snapshot_piece.c
 *	  Pieces of a snapshot's files, for a node that fetches it.
 *
 * Each call asks for the same rights as start_apply. Only files that the manifest names
 * are read, and the manifest. That is kept for the calls that follow, as long as the
 * file is the same: one of a large database takes seconds to read.
 */
#include "apply/apply.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "base/allocator.h"
#include "base/owned_fd.h"
#include "files/directory.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "varatt.h"

PG_FUNCTION_INFO_V1(steep_repl_snapshot_piece);
PG_FUNCTION_INFO_V1(steep_repl_snapshot_manifest);

#define MAX_PIECE (8 * 1024 * 1024)

/* The snapshot that this session reads pieces of. */
typedef struct KeptManifest
{
	MemoryContext context; /* NULL = none */
	struct stat file;
	Manifest *manifest;
	HTAB *files;
} KeptManifest;

static KeptManifest kept;

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
		   a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
		   a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Have the manifest of an open directory in kept. */
static void
keep_manifest(int dirfd, const char *path)
{
	MemoryContext context;
	MemoryContext previous;
	struct stat file;

	if (fstatat(dirfd, MANIFEST_FILE, &file, AT_SYMLINK_NOFOLLOW) == 0 && kept.context != NULL &&
		is_same_file(&file, &kept.file))
		return;
	if (kept.context != NULL)
		MemoryContextDelete(kept.context);
	kept.context = NULL;
	context =
		AllocSetContextCreate(CurrentMemoryContext, "steep_repl manifest", ALLOCSET_DEFAULT_SIZES);
	previous = MemoryContextSwitchTo(context);
	kept.manifest = apply_read_manifest(dirfd, path);
	kept.files = apply_index_files(kept.manifest);
	kept.file = file;
	MemoryContextSwitchTo(previous);
	MemoryContextSetParent(context, TopMemoryContext);
	kept.context = context;
}

/* A snapshot's directory, once the caller may read it; its manifest is in kept. */
static OwnedFd *
open_snapshot(const char *path)
{
	OwnedFd *directory;

	directory_check_read_rights(path, NULL);
	directory = owned_fd_create(directory_open(path));
	keep_manifest(directory->fd, path);
	directory_check_read_rights(path, kept.manifest);
	return directory;
}

static OwnedFd *
open_file(const OwnedFd *directory, const char *name)
{
	OwnedFd *file;
	struct stat st;

	if (strcmp(name, MANIFEST_FILE) != 0)
		(void) apply_find_file(kept.files, name);
	file = owned_fd_create(
		openat(directory->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (file->fd < 0 || fstat(file->fd, &st) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open snapshot file \"%s\": %m", name),
				 errhint("See what else is wrong with it: steep_repl.verify_snapshot().")));
	if (!S_ISREG(st.st_mode))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("snapshot file \"%s\" is not a regular file", name)));
	return file;
}

/* So many bytes of a file; fewer at its end. */
static bytea *
read_bytes(const OwnedFd *file, const char *name, int64 start, int32 length)
{
	bytea *result = palloc(VARHDRSZ + length);
	int32 done = 0;

	while (done < length)
	{
		ssize_t got = pread(file->fd, VARDATA(result) + done, length - done, start + done);

		CHECK_FOR_INTERRUPTS();
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR, (errcode_for_file_access(),
							errmsg("could not read snapshot file \"%s\": %m", name)));
		if (got == 0)
			break;
		done += got;
	}
	SET_VARSIZE(result, VARHDRSZ + done);
	return result;
}

/* _snapshot_piece(path, file, start, length): bytes of a file. */
Datum
steep_repl_snapshot_piece(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64 start = PG_GETARG_INT64(2);
	int32 length = PG_GETARG_INT32(3);
	OwnedFd *directory;
	OwnedFd *file;
	bytea *result;

	if (start < 0 || start > PG_INT64_MAX - MAX_PIECE || length < 1 || length > MAX_PIECE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a piece has from 1 to %d bytes, from 0 on", MAX_PIECE)));
	allocator_keep_memory();
	directory = open_snapshot(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	file = open_file(directory, name);
	result = read_bytes(file, name, start, length);
	owned_fd_close(file);
	owned_fd_close(directory);
	PG_RETURN_BYTEA_P(result);
}

/* _snapshot_manifest(path): how large the manifest is, and its digest. */
Datum
steep_repl_snapshot_manifest(PG_FUNCTION_ARGS)
{
	OwnedFd *directory = open_snapshot(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	char hex[DIGEST_HEX_SIZE];
	Datum values[2];
	bool nulls[2] = {false, false};
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	owned_fd_close(directory);
	digest_to_hex(kept.manifest->sha256, hex);
	values[0] = Int64GetDatum((int64) kept.file.st_size);
	values[1] = CStringGetTextDatum(hex);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
