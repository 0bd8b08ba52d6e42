/*
 * progress.h
 *	  A consistent copy of how far a job is.
 */
#ifndef STEEP_PROGRESS_H
#define STEEP_PROGRESS_H

#include "jobs/shared_state.h"

typedef struct JobProgress
{
	char phase[16];
	char current_table[STEEP_TABLE_LEN];
	pid_t worker_pid;
	uint32 tables_total;
	uint32 tables_done;
	uint64 raw_bytes;
	uint64 stored_bytes;
	uint64 rows;
	double seconds;    /* since copying began */
	double percent;    /* 0 to 100 */
	int64 eta_seconds; /* of the phase; -1 = unknown */
} JobProgress;

extern void progress_read(SteepJob *job, JobProgress *progress);

#endif /* STEEP_PROGRESS_H */
