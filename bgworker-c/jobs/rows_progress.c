/*
 * rows_progress.c
 *	  How far a phase is that is counted by rows. One statement reads a whole
 *	  table: while it does, what it calls for each row counts them.
 */
#include "jobs/rows_progress.h"

#include "jobs/requester.h"

/* The table that this process reads for a job; job is NULL if it reads none. */
static struct
{
	SteepJob *job;
	uint64 before; /* rows of the tables before */
	uint64 rows;   /* an estimate */
	uint64 total;
	uint64 n;
} table;

void
rows_progress_set(SteepJob *job, uint64 done, uint64 total)
{
	SpinLockAcquire(&job->mutex);
	pg_atomic_write_u64(&job->counters.items_done, Min(done, total));
	pg_atomic_write_u64(&job->counters.items_total, total);
	SpinLockRelease(&job->mutex);
}

void
rows_progress_begin_table(JobRun *run, int no)
{
	char *text;
	char *at;

	requester_begin();
	text = requester_text(run, "select steep_repl._rows_progress($1)", SQL_ARGS(arg_int4(no)));
	requester_commit();
	table.before = strtou64(text, &at, 10);
	table.rows = strtou64(at, &at, 10);
	table.total = strtou64(at, &at, 10);
	table.n = 0;
	table.job = run->job;
	rows_progress_set(run->job, table.before, table.total);
	pfree(text);
}

void
rows_progress_end_table(JobRun *run)
{
	table.job = NULL;
	rows_progress_set(run->job, table.before + table.rows, table.total);
}

void
rows_progress_count(void)
{
	/* A row that differs is digested more than once. */
	if (table.job != NULL && (++table.n & 1023) == 0 && table.n <= table.rows)
		pg_atomic_write_u64(&table.job->counters.items_done, table.before + table.n);
}
