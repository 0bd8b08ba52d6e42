/*
 * run.h
 *	  One job, from claim to end: what its coordinator's parts share.
 */
#ifndef STEEP_RUN_H
#define STEEP_RUN_H

#include "postgres.h"

#include "jobs/action.h"
#include "files/manifest_read.h"
#include "postmaster/bgworker.h"
#include "jobs/shared_state.h"
#include "utils/jsonb.h"
#include "jobs/worker.h"

typedef struct SnapshotRun SnapshotRun;
typedef struct ApplyRun ApplyRun;
typedef struct OverlapRun OverlapRun;
typedef struct MergeRun MergeRun;
typedef struct PairRun PairRun;
typedef struct FetchRun FetchRun;

struct JobRun
{
	SteepJob *job;
	MemoryContext context; /* lives as long as the job */
	char *operation;
	char *params; /* JSON, as queued */
	const ActionTable *actions;
	const char *done;      /* kind of the last action, NULL at first */
	const char *expected;  /* the only kind that may come next; NULL = any that the table has */
	StringInfoData facts;  /* JSON object members that the last action left */
	SnapshotRun *snapshot; /* of a snapshot job */
	ApplyRun *apply;       /* of an apply job */
	OverlapRun *overlap;   /* of an overlap job */
	MergeRun *merge;       /* of a merge, while there is a connection to its peer */
	PairRun *pair;         /* of a pair, while there is a connection to its peer */
	FetchRun *fetch;       /* of a fetch job */
	int attempts;          /* snapshots taken so far */
	int dirfd;             /* -1 = not made yet */
	bool owns_directory;
	bool keeps_files;         /* when it fails: it can go on from them. Not when it is cancelled */
	const char *pg_dump_name; /* application_name of its session */
	char *waiting;            /* for what; NULL = nothing */
	TimestampTz last_record;
	char recorded_phase[16];
};

/* run.c */
extern void run_tick(JobRun *run);
extern void run_wait(JobRun *run, uint32 wait_event);
extern void run_set_waiting(JobRun *run, const char *what);
extern void run_set_phase(JobRun *run, const char *phase);
extern void run_show_table(JobRun *run, const char *table);
extern bool run_try(JobRun *run, void (*body)(JobRun *run));

/* run_record.c: bookkeeping, as the extension's owner */
extern void record_start(JobRun *run);
extern void record_begun(JobRun *run, const char *kind);
extern void record_progress(JobRun *run, bool force);
extern char *describe_slot_blocker(JobRun *run);
extern void record_status_detail(JobRun *run, const char *detail);
extern void record_snapshot_result(JobRun *run, int64 size_bytes, int64 rows, int64 raw_bytes,
								   const char *checksum, XLogRecPtr lsn);
extern void record_source(JobRun *run, const Manifest *manifest);
extern void record_warnings(JobRun *run, const char *json);
extern void record_end(JobRun *run, const char *status, const ErrorData *error);

/* helpers.c: starting and ending the job's other workers */
extern void helpers_start_holder(JobRun *run);
extern void helpers_end_holder(JobRun *run);
extern void helpers_persist_slot(JobRun *run);
extern int helpers_start_workers(JobRun *run, WorkerKind kind, int wanted);
extern void helpers_check(JobRun *run);
extern bool helpers_copiers_are_done(JobRun *run);
extern bool helpers_any_is_gone(JobRun *run);
extern void helpers_end_all(JobRun *run);

#endif /* STEEP_RUN_H */
