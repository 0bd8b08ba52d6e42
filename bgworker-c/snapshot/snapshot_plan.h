/*
 * snapshot_plan.h
 *	  What a snapshot's coordinator knows of the tables, from the planner's
 *	  queries and from pg_dump.
 */
#ifndef STEEP_SNAPSHOT_PLAN_H
#define STEEP_SNAPSHOT_PLAN_H

#include "jobs/run.h"
#include "nodes/pg_list.h"
#include "snapshot/plan.h"
#include "toc/toc.h"

struct SnapshotRun
{
	MemoryContext context; /* one attempt: a new snapshot starts over */
	const char *node_id;   /* or NULL */
	Codec codec;
	int level;
	SourceTable *tables; /* by oid */
	uint32 n_tables;
	SourceTable *batches; /* of large objects */
	uint32 n_batches;
	List *object_entries; /* of LargeObjectEntry *: what the table of contents is to say of them */
	Oid *matviews;        /* to refresh, in this order */
	uint32 n_matviews;
	List *filter_tables;  /* of PgDumpTable *; none to include = everything */
	List *filter_schemas; /* of char * */
	Oid *memberships;     /* of publications, of tables that are left out; sorted */
	uint32 n_memberships;
	Toc *toc;
	SnapshotPlan *plan;
	int n_copiers;
};

/* What the planner's query says of large objects: of a batch, or of what belongs to the one before. */
typedef struct LargeObjectEntry
{
	const char *desc;
	const char *tag;
	const char *defn;
	const char *owner;
} LargeObjectEntry;

extern void snapshot_finish(JobRun *run, Jsonb *action);

/* snapshot_copy.c */
extern void snapshot_copy(JobRun *run, Jsonb *action);
extern void snapshot_run_reset(JobRun *run);
extern void snapshot_run_list(JobRun *run, Jsonb *action);
extern void snapshot_run_add_data(JobRun *run);

/* snapshot_objects.c */
extern void snapshot_read_objects(SnapshotRun *snapshot, uint64 n);
extern void snapshot_add_objects(SnapshotRun *snapshot);
extern SnapshotPlan *snapshot_make_plan(SnapshotRun *snapshot, dsm_handle *handle);
extern char *snapshot_list_objects(const SourceTable *batch);
extern const char *snapshot_run_find_change(JobRun *run, Jsonb *action);

#endif /* STEEP_SNAPSHOT_PLAN_H */
