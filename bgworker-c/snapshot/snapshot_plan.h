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
	Oid *matviews; /* to refresh, in this order */
	uint32 n_matviews;
	List *filter_tables;  /* of PgDumpTable *; both NIL = everything */
	List *filter_schemas; /* of char * */
	Toc *toc;
	SnapshotPlan *plan;
	int n_copiers;
};

extern void snapshot_finish(JobRun *run, Jsonb *action);

/* snapshot_copy.c */
extern void snapshot_copy(JobRun *run, Jsonb *action);
extern void snapshot_run_reset(JobRun *run);
extern void snapshot_run_list(JobRun *run, Jsonb *action);
extern void snapshot_run_add_data(JobRun *run);
extern const char *snapshot_run_find_change(JobRun *run, Jsonb *action);

#endif /* STEEP_SNAPSHOT_PLAN_H */
