/*
 * rows_progress.h
 *	  How far a phase is that is counted by rows.
 */
#ifndef STEEP_ROWS_PROGRESS_H
#define STEEP_ROWS_PROGRESS_H

#include "jobs/run.h"

/* How many rows of a phase are done, and how many it has. */
extern void rows_progress_set(SteepJob *job, uint64 done, uint64 total);

/* From now on the rows of a table that this process digests are progress. */
extern void rows_progress_begin_table(JobRun *run, int no);
extern void rows_progress_end_table(JobRun *run);

/* A row was digested, for whatever purpose. */
extern void rows_progress_count(void);

#endif /* STEEP_ROWS_PROGRESS_H */
