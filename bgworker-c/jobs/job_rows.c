/*
 * job_rows.c
 *	  What becomes of the row that shows a job's result, whichever table it is in.
 */
#include "jobs/job_rows.h"

#include "catalog/pg_type.h"
#include "jobs/owner.h"
#include "utils/builtins.h"

static const char *const tables[] = {"snapshots", "overlaps", "merges"};

/* The same statement for each table, of which one has the job's row; $1 is its id. */
static void
update_rows(const char *assignments, int nargs, Oid *types, Datum *values, const char *nulls)
{
	for (size_t i = 0; i < lengthof(tables); i++)
	{
		char *sql =
			psprintf("update steep_repl.%s set %s where operation_id = $1", tables[i], assignments);

		owner_execute(sql, nargs, types, values, nulls);
		pfree(sql);
	}
}

static void
update_by_id(int64 id, const char *assignments)
{
	update_rows(assignments, 1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(id)}, NULL);
}

/* The job has been claimed. */
void
job_rows_start(int64 id)
{
	update_by_id(id, "status = 'running', started_at = clock_timestamp()");
}

/* A job that was interrupted is to go on. */
void
job_rows_resume(int64 id)
{
	update_by_id(id, "status = 'pending'");
}

/* The job begins anew; what a merge has written stays counted. */
void
job_rows_reset(int64 id)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(id)};

	update_by_id(
		id,
		"status = 'pending', phase = 'queued', overall_percent = 0, current_table = null, table_count = null, "
		"tables_completed = 0, error_message = null, error_sqlstate = null, error_hint = null, started_at = null, completed_at = null");
	owner_execute(
		"update steep_repl.snapshots set lsn = null, size_bytes = null, bytes_processed = 0, rows_written = null, "
		"  checksum = null, warnings = null, throughput_bytes_sec = null, eta_seconds = null where operation_id = $1",
		1, types, values, NULL);
	owner_execute(
		"update steep_repl.overlaps set local_only_count = null, remote_only_count = null, match_count = null, "
		"  conflict_count = null, unsettled_count = null where operation_id = $1",
		1, types, values, NULL);
}

/* How the job ended; message, sqlstate and hint may be NULL. */
void
job_rows_end(int64 id, const char *status, const char *message, const char *sqlstate,
			 const char *hint)
{
	const char *texts[] = {status, message, sqlstate, hint};
	Oid types[] = {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[5] = {Int64GetDatum(id)};
	char nulls[] = "     ";

	for (size_t i = 0; i < lengthof(texts); i++)
	{
		values[i + 1] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
		nulls[i + 1] = texts[i] ? ' ' : 'n';
	}
	update_rows("status = $2, completed_at = clock_timestamp(), current_table = null, "
				"phase = case when $2 = 'complete' then 'complete' else phase end, "
				"overall_percent = case when $2 = 'complete' then 100 else overall_percent end, "
				"error_message = $3, error_sqlstate = $4, error_hint = $5",
				5, types, values, nulls);
	owner_execute(
		"update steep_repl.snapshots set eta_seconds = null where operation_id = $1 and eta_seconds is not null",
		1, types, values, NULL);
}
