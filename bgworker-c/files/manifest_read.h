/*
 * manifest_read.h
 *	  Reads a snapshot's manifest.json, which may be damaged or hostile.
 */
#ifndef STEEP_MANIFEST_READ_H
#define STEEP_MANIFEST_READ_H

#include "postgres.h"

#include "base/digest.h"

#define MANIFEST_FORMAT_VERSION 1

typedef struct ManifestFrame
{
	uint64 offset;
	uint64 rows;
	uint64 raw_bytes;
	uint64 stored_bytes;
	uint8 sha256[DIGEST_BYTES];
} ManifestFrame;

typedef struct ManifestFile
{
	char *name;   /* a plain name: no directory part */
	char *kind;   /* "toc", "data", "large_objects" or "large_object" */
	char *schema; /* of data, else NULL */
	char *table;
	uint64 rows;
	uint64 raw_bytes;
	uint64 stored_bytes;
	uint8 sha256[DIGEST_BYTES]; /* of a file without frames */
	ManifestFrame *frames;      /* a file without frames has one: itself */
	int nframes;
} ManifestFile;

typedef struct Manifest
{
	uint64 format_version;
	char *snapshot_id;
	char *node_id; /* or NULL */
	char *creator;
	uint64 creator_oid; /* there; 0 = unknown, in a manifest of before it was written */
	char *system_identifier;
	char *database;
	char *lsn;
	char *slot_name; /* or NULL */
	char *pg_version;
	char *extension_version;
	char *encoding;
	char *compression;
	char *created_at;
	uint64 tables;
	uint64 rows;
	uint64 raw_bytes;
	uint64 stored_bytes;
	ManifestFile *files;
	int nfiles;
	uint8 sha256[DIGEST_BYTES]; /* of the manifest's own file */
} Manifest;

/* A way in which a snapshot differs from its manifest. */
typedef struct SnapshotProblem
{
	const char *file;
	const char *problem;
	const char *expected; /* or NULL */
	const char *found;    /* or NULL */
} SnapshotProblem;

/*
 * The manifest of an open directory, in CurrentMemoryContext, with its own
 * digest checked; or NULL and what is wrong with it.
 */
extern Manifest *manifest_read(int dirfd, SnapshotProblem *problem);
extern Manifest *manifest_read_file(int dirfd, const char *name, SnapshotProblem *problem);

/* manifest_frames.c */
extern const ManifestFrame **manifest_sort_frames(const ManifestFile *file);
extern bool
manifest_frames_tile(const ManifestFile *file, const ManifestFrame **frames, uint64 *end);

/* manifest_parse.c */
extern Manifest *manifest_parse(char *json, size_t len, const char **problem);

#endif /* STEEP_MANIFEST_READ_H */
