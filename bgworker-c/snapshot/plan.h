/*
 * plan.h
 *	  What a snapshot copies: one entry a table in dynamic shared memory,
 *	  which copiers take chunk by chunk.
 */
#ifndef STEEP_PLAN_H
#define STEEP_PLAN_H

#include "postgres.h"

#include "base/codec.h"
#include "port/atomics.h"
#include "jobs/shared_plan.h"
#include "jobs/shared_state.h"
#include "storage/block.h"
#include "utils/relcache.h"

/* A table as the planning query named it, in the coordinator's memory. */
typedef struct SourceTable
{
	Oid relid;
	char *schema;
	char *name;
	char *owner;
	const char **columns; /* in COPY's order */
	int ncolumns;
	char *fingerprint; /* of its catalog rows, as the snapshot sees them */
	char *condition;   /* WHERE … of an extension's config table, or NULL */
	bool extension_member;
	char *root_schema; /* of the partition root to load it through, or NULL */
	char *root_name;
	int dump_id;  /* once the table of contents names its file */
	Oid *objects; /* of a batch of large objects; then there is no table */
	uint32 n_objects;
} SourceTable;

/* Of a table's data file: only who makes it may create one of that name. */
typedef enum PlanFileState
{
	PLAN_FILE_ABSENT = 0,
	PLAN_FILE_BEGUN, /* a copier is making it */
	PLAN_FILE_MADE,
} PlanFileState;

typedef struct PlanTable
{
	Oid relid;
	int dump_id;  /* its file is <dump_id>.dat with a suffix */
	uint64 bytes; /* main fork and TOAST table */
	BlockNumber blocks;
	BlockNumber chunk_blocks;
	uint32 chunks; /* at least 1; the last one is open-ended */
	uint32 schema; /* offsets of strings in the segment */
	uint32 name;
	uint32 qualified_name;
	uint32 columns; /* of the first of n_columns names, one after the other */
	uint32 n_columns;
	uint32 condition; /* 0 = none */
	uint32
		objects; /* of the first of n_objects large objects; then it is no table but a batch of these */
	uint32 n_objects;
	pg_atomic_uint32 next_chunk;
	pg_atomic_uint32 chunks_done;
	pg_atomic_uint64 file_end; /* where the next frame goes */
	pg_atomic_uint32 file_state;
	uint64 file_device; /* and inode: of the file that we made, once it is made */
	uint64 file_inode;
} PlanTable;

typedef struct SnapshotPlan
{
	Codec codec;
	int level;
	uint32 n_tables;         /* with batches of large objects */
	uint32 n_batches;        /* of them */
	uint64 all_objects;      /* in all batches */
	pg_atomic_uint32 cursor; /* the first table that may have chunks left */
	PlanTable tables[FLEXIBLE_ARRAY_MEMBER];
} SnapshotPlan;

/* A piece of a table that one copier copies in one transaction. */
typedef struct PlanChunk
{
	uint32 table;
	uint32 number;
	BlockNumber first_block;
	BlockNumber end_block; /* InvalidBlockNumber = open-ended */
	uint64 bytes;          /* its share of the table's bytes */
} PlanChunk;

extern SnapshotPlan *
plan_create(const SourceTable *tables, uint32 n, Codec codec, int level, dsm_handle *handle);
extern void plan_measure(SnapshotPlan *plan, JobCounters *counters);
extern bool plan_next_chunk(SnapshotPlan *plan, PlanChunk *chunk);
extern bool plan_chunk_done(SnapshotPlan *plan, const PlanChunk *chunk);
extern Relation plan_open_table(const SnapshotPlan *plan, const PlanTable *table);
extern const char *plan_string(const SnapshotPlan *plan, uint32 offset);
extern const Oid *plan_batch(const SnapshotPlan *plan, const PlanTable *table);
extern void
plan_file_name(const SnapshotPlan *plan, const PlanTable *table, Oid object, char *name);

#define PLAN_FILE_NAME_LEN 64

#endif /* STEEP_PLAN_H */
