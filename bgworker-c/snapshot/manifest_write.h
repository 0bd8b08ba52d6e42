/*
 * manifest_write.h
 *	  Writes a snapshot's manifest.json, whose format docs/internals/file-format.md describes.
 */
#ifndef STEEP_MANIFEST_WRITE_H
#define STEEP_MANIFEST_WRITE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "base/digest.h"
#include "files/frame_log.h"
#include "snapshot/plan.h"

/* A file that names those of large objects. */
typedef struct ManifestList
{
	const char *name;
	size_t bytes;
	uint8 sha256[DIGEST_BYTES];
} ManifestList;

/* What the manifest says of the snapshot as a whole. */
typedef struct ManifestHeader
{
	const char *snapshot_id;
	const char *node_id; /* or NULL */
	const char *creator;
	Oid creator_oid;
	const char *database;
	const char *encoding;
	const char *created_at; /* ISO 8601, UTC */
	const char *slot_name;  /* or NULL */
	XLogRecPtr lsn;
	size_t toc_bytes;
	uint8 toc_sha256[DIGEST_BYTES];
	ManifestList *lists;
	uint32 n_lists;
} ManifestHeader;

/* What was written, for the snapshots row. */
typedef struct ManifestTotals
{
	uint64 rows;
	uint64 raw_bytes;
	uint64 stored_bytes;
	uint8 sha256[DIGEST_BYTES]; /* of the whole manifest file */
} ManifestTotals;

extern void
manifest_write(int dirfd, const char *name, const ManifestHeader *header, const SnapshotPlan *plan,
			   const FrameRecord *frames, uint64 n_frames, ManifestTotals *totals);

#endif /* STEEP_MANIFEST_WRITE_H */
