/*
 * apply.h
 *	  Loading a snapshot into a database: what its parts share.
 */
#ifndef STEEP_APPLY_H
#define STEEP_APPLY_H

#include "apply/apply_plan.h"
#include "jobs/run.h"
#include "files/manifest_read.h"
#include "nodes/pg_list.h"
#include "toc/toc.h"
#include "toc/toc_select.h"

/* Entries of _apply_done that are no entry of the archive. */
#define MARK_ARCHIVE 0
#define MARK_TRUNCATE (-1)
#define MARK_WHOLE (-1) /* the part of what has no parts */

/* A load is of about so much COPY text, or one frame if that is larger. */
#define LOAD_BYTES (8 * 1024 * 1024)

/* A table to load, while the plan is made. */
typedef struct TargetTable
{
	int entry;
	const ManifestFile *file;
	char *name; /* as SQL writes it */
	uint32 level;
	bool begun;        /* some of it is loaded */
	bool in_extension; /* which makes it, and may fill it */
} TargetTable;

struct ApplyRun
{
	MemoryContext context;
	char *path;
	Manifest *manifest;
	HTAB *files; /* of the manifest, by name */
	Codec codec;
	int encoding;
	Toc *toc;
	ApplyStage *stages; /* by entry */
	TocSelection selection;
	bool no_owner;
	bool truncate;
	bool replicate;      /* rows are sent to subscribers like any others */
	ReplOriginId origin; /* that they carry else, and who has it in use */
	int origin_pid;
	uint64 object_bytes; /* of large objects, all of them */
	HTAB *done;          /* of ApplyMark: what an earlier attempt did */
	TargetTable *targets;
	int n_targets;
	ApplyPlan *plan;
};

typedef struct ApplyMark
{
	int64 part; /* with dump_id the key; without a gap between them */
	int64 dump_id;
} ApplyMark;

/* The plan in the coordinator's memory, before it is laid out to be shared. */
typedef struct ApplyDraft
{
	ApplyPlan header;
	ApplyTable *tables;
	ApplyObject *objects;
	ApplyItem *items;
	uint32 *refs;
	ApplyFrame *frames;
	uint32 n_tables;
	uint32 n_items;
	uint32 n_refs;
	uint32 n_frames;
	uint32 n_objects;
	uint32 max_objects; /* allocated */
	uint32 max_items;
	uint32 max_refs;
	uint32 max_frames;
} ApplyDraft;

/* apply_archive.c: reading a directory that somebody says is a snapshot */
extern Manifest *apply_read_manifest(int dirfd, const char *path);
extern ByteBuffer apply_read_toc_file(int dirfd, uint64 bytes, const uint8 *sha256);
extern HTAB *apply_index_files(const Manifest *manifest);
extern const ManifestFile *apply_find_file(HTAB *files, const char *name);

/* apply_marks.c: what is done, in the transaction that does it */
extern HTAB *apply_marks_read(int64 operation_id);
extern bool apply_marks_have(HTAB *marks, int dump_id, int64 part);
extern void apply_marks_remove(HTAB *marks, int64 operation_id, int dump_id);
extern void apply_marks_add(int64 operation_id, int dump_id, int64 part);
extern void apply_check_same_archive(JobRun *run);

/* apply_open.c: the archive, and what of it to apply */
extern void apply_open_archive(JobRun *run, Jsonb *action);

/* apply_tables.c: the tables to load */
extern void apply_list_targets(ApplyRun *apply);
extern void apply_check_frames(const ManifestFile *file);

/* apply_draft.c: from table of contents and manifest to the plan */
extern void apply_make_plan(JobRun *run);

extern void *draft_grow(void *array, uint32 n, uint32 *capacity, Size size);
extern void draft_add_frames(ApplyDraft *draft, const ManifestFrame *frames, int n);

/* apply_objects.c: the data of large objects */
extern void apply_draft_objects(ApplyDraft *draft, ApplyRun *apply);
extern char **apply_new_objects(ApplyRun *apply, int *n);

/* apply_graph.c: what may run beside what, after the data */
extern ApplyItem *draft_add_item(ApplyDraft *draft, ApplyStep step);
extern void draft_add_ref(ApplyDraft *draft, uint32 ref);
extern void apply_draft_graph(ApplyDraft *draft, ApplyRun *apply);

/* apply_targets.c: what is there already */
extern void apply_check_targets(JobRun *run, Jsonb *action);
extern void apply_check_constraints(JobRun *run, Jsonb *action);

#endif /* STEEP_APPLY_H */
