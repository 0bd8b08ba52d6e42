/*
 * fetch_manifest.c
 *	  The manifest of a snapshot at a peer: fetched under the name of one that is not
 *	  finished, and held against what a snapshot can be before anything of it is believed.
 */
#include "fetch/fetch_plan.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "base/owned_fd.h"
#include "base/settings.h"
#include "fetch/piece_queue.h"
#include "files/directory.h"
#include "jobs/job_directory.h"
#include "jobs/requester.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

pg_noreturn static void
refuse(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
					errmsg("peer: the snapshot's manifest cannot be used"),
					errdetail_internal("%s", detail),
					errhint("See what is wrong with it there: steep_repl.verify_snapshot().")));
}

static void
could_not(const char *what)
{
	ereport(ERROR, (directory_write_errcode(),
					errmsg("could not %s snapshot file \"%s\": %m", what, UNFINISHED_MANIFEST)));
}

/* Nothing may be left of it, or it would be taken for the right one when the job goes on. */
static void
remove_unfinished(JobRun *run)
{
	if (unlinkat(run->dirfd, UNFINISHED_MANIFEST, 0) != 0 && errno != ENOENT)
		could_not("remove");
}

/* What it may be large: what it becomes in memory is about the same. */
static void
check_size(const FetchRun *fetch)
{
	if (fetch->manifest_bytes > (uint64) steep_max_peer_answer * 1024 * 1024)
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("peer: the snapshot's manifest is larger than %d MB", steep_max_peer_answer),
			 errdetail("It has " UINT64_FORMAT " bytes.", fetch->manifest_bytes),
			 errhint(
				 "That of a very large snapshot needs a greater steep_repl.max_peer_answer; it bounds the memory that a peer can make this server take.")));
}

/* Fetch it to a new file. */
static void
download(JobRun *run)
{
	FetchRun *fetch = run->fetch;
	FetchRate rate;
	PieceQueue *queue;
	FetchFile file = {.name = UNFINISHED_MANIFEST};
	OwnedFd *fd =
		owned_fd_create(openat(run->dirfd, UNFINISHED_MANIFEST,
							   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
	uint64 asked = 0;
	Piece piece;

	if (fd->fd < 0)
		could_not("write");
	fetch_rate_init(&rate, 0);
	queue = piece_queue_create(run, fetch->path, &rate, fetch->connection);
	do
	{
		for (; asked < fetch->manifest_bytes && piece_queue_has_room(queue); asked += piece.length)
		{
			piece = (Piece){.file = MANIFEST_FILE,
							.offset = asked,
							.length = Min(PIECE_BYTES, fetch->manifest_bytes - asked)};
			piece_queue_ask(queue, &piece);
		}
		if (queue->n > 0)
		{
			const char *bytes = piece_queue_next(queue, &piece);

			fetch_write(fd->fd, &file, piece.offset, bytes, piece.length);
		}
		run_tick(run);
	} while (queue->n > 0);
	fetch->connection = queue->connection;
	if (pg_fsync(fd->fd) != 0)
		could_not("fsync");
	owned_fd_close(fd);
}

/* The names that drop_snapshot removes, each once. */
static void
check_name(HTAB *names, const char *name)
{
	bool is_twice;

	if (strlen(name) >= FETCH_NAME_LEN || !directory_is_our_file(name) ||
		strcmp(name, MANIFEST_FILE) == 0 || strcmp(name, UNFINISHED_MANIFEST) == 0)
		refuse(psprintf("It names a file that none of a snapshot is called like: \"%s\".",
						pnstrdup(name, pg_mbcliplen(name, strlen(name), FETCH_NAME_LEN))));
	hash_search(names, name, HASH_ENTER, &is_twice);
	if (is_twice)
		refuse(psprintf("It names file \"%s\" twice.", name));
}

/* Whatever is not so would be written, asked for, or removed wrongly. */
static void
check_files(const Manifest *manifest)
{
	HASHCTL ctl = {.keysize = FETCH_NAME_LEN, .entrysize = FETCH_NAME_LEN};
	HTAB *names;
	uint64 total = 0;
	bool has_toc = false;

	ctl.hcxt = CurrentMemoryContext;
	names =
		hash_create("steep_repl fetched files", 256, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < manifest->nfiles; i++)
	{
		const ManifestFile *file = &manifest->files[i];
		const ManifestFrame **frames = manifest_sort_frames(file);
		uint64 end;

		CHECK_FOR_INTERRUPTS();
		check_name(names, file->name);
		has_toc = has_toc || strcmp(file->name, TOC_FILE) == 0;
		if (!manifest_frames_tile(file, frames, &end))
			refuse(psprintf("The frames of file \"%s\" do not cover it.", file->name));
		total += file->stored_bytes;
		if (total > PG_INT64_MAX)
			refuse("Its files have more bytes together than there can be.");
		pfree(frames);
	}
	if (!has_toc)
		refuse(psprintf("It names no file \"%s\".", TOC_FILE));
	hash_destroy(names);
}

/* The manifest that is here, if it is that of the snapshot at the peer. */
static Manifest *
read_unfinished(JobRun *run, SnapshotProblem *problem)
{
	Manifest *manifest;

	StartTransactionCommand(); /* names are converted from UTF-8 by the catalogs */
	MemoryContextSwitchTo(run->context);
	manifest = manifest_read_file(run->dirfd, UNFINISHED_MANIFEST, problem);
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	return manifest;
}

static bool
is_wanted(const FetchRun *fetch, const Manifest *manifest)
{
	return memcmp(manifest->sha256, fetch->manifest_sha256, DIGEST_BYTES) == 0;
}

/* What an earlier attempt has left of it; NULL if nothing can be made of that. */
static Manifest *
find_earlier(JobRun *run)
{
	SnapshotProblem problem;
	Manifest *manifest;

	/* it may have come as far as the last name, and no farther */
	if (renameat(run->dirfd, MANIFEST_FILE, run->dirfd, UNFINISHED_MANIFEST) != 0 &&
		errno != ENOENT)
		could_not("rename");
	manifest = read_unfinished(run, &problem);
	if (manifest != NULL && !is_wanted(run->fetch, manifest))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the snapshot at the peer is another one than that of which files are here"),
			 errhint("Remove them with steep_repl.drop_snapshot('%s') and fetch it anew.",
					 run->job->object_id)));
	if (manifest == NULL)
		remove_unfinished(run);
	return manifest;
}

static Manifest *
fetch_new(JobRun *run)
{
	SnapshotProblem problem;
	Manifest *manifest;

	download(run);
	manifest = read_unfinished(run, &problem);
	if (manifest == NULL)
	{
		remove_unfinished(run);
		refuse(problem.found ? psprintf("%s (%s).", problem.problem, problem.found)
							 : psprintf("%s.", problem.problem));
	}
	if (!is_wanted(run->fetch, manifest))
	{
		remove_unfinished(run);
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("peer: the snapshot was replaced while its manifest was read")));
	}
	return manifest;
}

/* Tell the planner how much is missing, and how much room there is. */
static void
report_space(JobRun *run)
{
	uint64 missing = 0;

	for (int i = 0; i < run->fetch->manifest->nfiles; i++)
	{
		const ManifestFile *file = &run->fetch->manifest->files[i];
		struct stat st;
		uint64 here =
			fstatat(run->dirfd, file->name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_size : 0;

		missing += file->stored_bytes - Min(here, file->stored_bytes);
	}
	job_directory_report_space(run, "bytes_missing", missing);
}

/* The action: have the manifest, and know what is to be fetched. */
void
fetch_get_manifest(JobRun *run, Jsonb *action)
{
	FetchRun *fetch = run->fetch;

	check_size(fetch);
	fetch->manifest = fetch->has_files ? find_earlier(run) : NULL;
	if (fetch->manifest == NULL)
		fetch->manifest = fetch_new(run);
	check_files(fetch->manifest);
	record_source(run, fetch->manifest);
	report_space(run);
	if (fetch->connection == NULL)
		return;
	requester_close_peer(run, fetch->connection);
	fetch->connection = NULL;
}
