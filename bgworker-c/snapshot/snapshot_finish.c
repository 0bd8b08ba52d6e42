/*
 * snapshot_finish.c
 *	  The last action of a snapshot job: what makes the directory a snapshot.
 */
#include "snapshot/snapshot_plan.h"

#include "access/xact.h"
#include "base/bytebuffer.h"
#include "commands/dbcommands.h"
#include "base/digest.h"
#include "files/directory.h"
#include "files/frame_log.h"
#include "snapshot/manifest_write.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "jobs/worker.h"

#define TEMPORARY_MANIFEST MANIFEST_FILE ".tmp"

/* Write toc.dat; returns its size and digest in the header. */
static void
write_toc(JobRun *run, ManifestHeader *header)
{
	ByteBuffer toc;

	bytebuffer_init(&toc, 64 * 1024);
	toc_write(run->snapshot->toc, run->snapshot->codec, &toc);
	directory_write_file(run->dirfd, TOC_FILE, toc.data, toc.len);
	header->toc_bytes = toc.len;
	digest_bytes(toc.data, toc.len, header->toc_sha256);
}

/* Write what names the files of large objects; sizes and digests are for the manifest. */
static void
write_object_lists(JobRun *run, ManifestHeader *header)
{
	SnapshotRun *snapshot = run->snapshot;

	header->lists = palloc0_array(ManifestList, snapshot->n_batches + 1);
	header->n_lists = snapshot->n_batches;
	for (uint32 i = 0; i < snapshot->n_batches; i++)
	{
		ManifestList *list = &header->lists[i];
		char *text = snapshot_list_objects(&snapshot->batches[i]);

		worker_check_cancel(run->job);
		list->name = psprintf("blobs_%d.toc", snapshot->batches[i].dump_id);
		list->bytes = strlen(text);
		directory_write_file(run->dirfd, list->name, text, list->bytes);
		digest_bytes(text, list->bytes, list->sha256);
		pfree(text);
	}
}

static void
fill_header(JobRun *run, ManifestHeader *header)
{
	char *created = palloc(64);
	pg_time_t now = timestamptz_to_time_t(GetCurrentTimestamp());

	StartTransactionCommand();
	MemoryContextSwitchTo(run->context);
	header->creator = GetUserNameFromId(GetUserId(), false);
	header->creator_oid = GetUserId();
	header->database = get_database_name(MyDatabaseId);
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	pg_strftime(created, 64, "%Y-%m-%dT%H:%M:%SZ", pg_gmtime(&now));
	header->created_at = created;
	header->snapshot_id = run->job->object_id;
	header->node_id = run->snapshot->node_id;
	header->encoding = GetDatabaseEncodingName();
	header->lsn = run->job->snapshot_lsn;
	header->slot_name = run->job->slot_name[0] ? run->job->slot_name : NULL;
}

/*
 * Table of contents, manifest, rename. Until that rename the directory is no
 * snapshot, so everything before it may still fail.
 */
void
snapshot_finish(JobRun *run, Jsonb *action)
{
	ManifestHeader header = {0};
	ManifestTotals totals;
	FrameRecord *frames;
	uint64 n_frames;
	char checksum[DIGEST_HEX_SIZE];

	fill_header(run, &header);
	write_toc(run, &header);
	write_object_lists(run, &header);
	frames = frame_log_read(run->dirfd, run->snapshot->n_copiers, &n_frames);
	StartTransactionCommand(); /* names become UTF-8 by a conversion in the catalogs */
	manifest_write(run->dirfd, TEMPORARY_MANIFEST, &header, run->snapshot->plan, frames, n_frames,
				   &totals);
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	frame_log_remove(run->dirfd, run->snapshot->n_copiers);
	worker_check_cancel(run->job);
	directory_commit_file(run->dirfd, TEMPORARY_MANIFEST, MANIFEST_FILE);

	digest_to_hex(totals.sha256, checksum);
	record_snapshot_result(run, totals.stored_bytes + header.toc_bytes, totals.rows,
						   totals.raw_bytes, checksum, header.lsn);
	if (header.slot_name != NULL)
		helpers_persist_slot(run);
}
