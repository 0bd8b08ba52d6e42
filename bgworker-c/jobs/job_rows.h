/*
 * job_rows.h
 *	  The row that shows a job's result, in snapshots, overlaps or merges.
 */
#ifndef STEEP_JOB_ROWS_H
#define STEEP_JOB_ROWS_H

#include "postgres.h"

/* All inside a transaction as the owner. A job has its row in one of the tables. */
extern void job_rows_start(int64 id);
extern void job_rows_resume(int64 id);
extern void job_rows_reset(int64 id);
extern void job_rows_end(int64 id, const char *status, const char *message, const char *sqlstate,
						 const char *hint);

#endif /* STEEP_JOB_ROWS_H */
