/*
 * manifest_read.h
 *	  Reads a snapshot's manifest.json, which may be damaged or hostile.
 */
#ifndef STEEP_MANIFEST_READ_H
#define STEEP_MANIFEST_READ_H

#include "postgres.h"

#include "digest.h"

#define MANIFEST_NAME "manifest.json"
#define MANIFEST_FORMAT_VERSION 1

typedef struct ManifestFrame
{
	uint64		offset;
	uint64		rows;
	uint64		raw_bytes;
	uint64		stored_bytes;
	uint8		sha256[DIGEST_BYTES];
} ManifestFrame;

typedef struct ManifestFile
{
	const char *name;			/* a plain name: no directory part */
	const char *kind;			/* "toc" or "data" */
	const char *schema;			/* of data, else NULL */
	const char *table;
	uint64		rows;
	uint64		raw_bytes;
	uint64		stored_bytes;
	ManifestFrame *frames;		/* a file without frames has one: itself */
	int			nframes;
} ManifestFile;

typedef struct Manifest
{
	const char *snapshot_id;
	const char *creator;
	const char *system_identifier;
	const char *database;
	const char *lsn;
	const char *slot_name;		/* or NULL */
	const char *pg_version;
	const char *encoding;
	const char *compression;
	uint64		rows;
	uint64		raw_bytes;
	uint64		stored_bytes;
	ManifestFile *files;
	int			nfiles;
} Manifest;

/* A way in which a snapshot differs from its manifest. */
typedef struct SnapshotProblem
{
	const char *file;
	const char *problem;
	const char *expected;		/* or NULL */
	const char *found;			/* or NULL */
} SnapshotProblem;

/*
 * The manifest of an open directory, in CurrentMemoryContext, with its own
 * digest checked; or NULL and what is wrong with it.
 */
extern Manifest *manifest_read(int dirfd, SnapshotProblem *problem);

#endif							/* STEEP_MANIFEST_READ_H */
