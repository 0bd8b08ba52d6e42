/*
 * directory.h
 *	  The directory that holds one snapshot: where it may lie, who may read
 *	  it, and how we know that it is ours to remove.
 */
#ifndef STEEP_DIRECTORY_H
#define STEEP_DIRECTORY_H

#include "postgres.h"

#define STEEP_TOKEN_LEN 33 /* 128 random bits in hex, and a NUL */

#define MARKER_FILE ".steep_repl"
#define TOC_FILE "toc.dat"
#define MANIFEST_FILE "manifest.json"

/* What a directory's marker must say before we remove anything in it. */
typedef struct DirectoryMark
{
	int64 operation_id;
	Oid database;
	char token[STEEP_TOKEN_LEN];
	Oid reader; /* who fetched it, and so may read it whoever took it; InvalidOid = nobody */
} DirectoryMark;

typedef enum RemoveResult
{
	REMOVE_DONE,     /* nothing of ours is left */
	REMOVE_ABSENT,   /* there is no such directory */
	REMOVE_NOT_OURS, /* it does not carry this job's marker */
	REMOVE_FAILED,   /* errno says why; something is left */
} RemoveResult;

/* directory_path.c: paths that users gave */
extern char *directory_normalize(const char *path);
extern int directory_open(const char *path);
extern int directory_open_parent(const char *path, const char **problem);
extern void directory_report_failure(const char *path, const char *problem);

/* directory_rights.c: which of them are allowed */
extern void directory_check_write(const char *path);
extern void directory_check_write_rights(const char *path);
struct Manifest;
extern void directory_check_read_rights(const char *path, const struct Manifest *manifest);

/* directory.c: making and finding */
extern int directory_create(const char *path, const DirectoryMark *mark);
extern int directory_open_marked(const char *path, const DirectoryMark *mark);
extern bool directory_is_empty(int dirfd);
extern int directory_write_errcode(void);
extern void directory_write_file(int dirfd, const char *name, const void *data, size_t len);
extern void directory_commit_file(int dirfd, const char *temporary, const char *name);
extern bool directory_has_marker(int dirfd, const DirectoryMark *mark, bool *created);
extern Oid directory_reader(int dirfd);
extern int directory_sync_entries(int dirfd);
extern int directory_sync_parent(int parent, int child);

/* directory_remove.c */
extern bool directory_is_our_file(const char *name);
extern RemoveResult directory_remove(const char *path, const DirectoryMark *mark);
extern int64 directory_bytes(const char *path, const DirectoryMark *mark);

#endif /* STEEP_DIRECTORY_H */
