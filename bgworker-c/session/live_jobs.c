/*
 * live_jobs.c
 *	  What sessions ask of shared memory, files and settings.
 */
#include "postgres.h"

#include "fmgr.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "base/codec.h"
#include "files/directory.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "access/twophase.h"
#include "apply/apply.h"
#include "base/owned_fd.h"
#include "jobs/owner.h"
#include "postmaster/bgworker.h"
#include "jobs/progress.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(steep_repl_live_jobs);
PG_FUNCTION_INFO_V1(steep_repl_waiting_reason);
PG_FUNCTION_INFO_V1(steep_repl_operation_counts);
PG_FUNCTION_INFO_V1(steep_repl_check_output_path);
PG_FUNCTION_INFO_V1(steep_repl_check_input_path);
PG_FUNCTION_INFO_V1(steep_repl_level_range);
PG_FUNCTION_INFO_V1(steep_repl_lock_table_size);

static void
put_live_job(ReturnSetInfo *rsinfo, int64 id, const JobProgress *progress)
{
	Datum values[9];
	bool nulls[9] = {0};

	values[0] = Int64GetDatum(id);
	values[1] = CStringGetTextDatum(progress->phase);
	values[2] = Float8GetDatum(progress->percent);
	values[3] = CStringGetTextDatum(progress->current_table);
	nulls[3] = progress->current_table[0] == '\0';
	values[4] = Int32GetDatum(progress->tables_done);
	values[5] = Int32GetDatum(progress->tables_total);
	values[6] = Int64GetDatum(progress->raw_bytes);
	values[7] = Int64GetDatum(progress->eta_seconds);
	nulls[7] = progress->eta_seconds < 0;
	values[8] = Int32GetDatum(progress->worker_pid);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Running jobs of this database that the caller may see. */
Datum
steep_repl_live_jobs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool sees_all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; steep_shared != NULL && i < STEEP_MAX_JOBS; i++)
	{
		SteepJob *job = &steep_shared->jobs[i];
		JobProgress progress;
		Oid requester;
		int64 id;
		bool runs;

		LWLockAcquire(steep_shared->lock, LW_SHARED);
		/* One that has ended, too: the caller's snapshot may be older than that. */
		runs =
			(job->state == JOB_STARTED || job->state == JOB_ENDED) && job->database == MyDatabaseId;
		requester = job->requester;
		id = job->id;
		/* Before the slot can be another job's, of somebody else. */
		if (runs)
			progress_read(job, &progress);
		LWLockRelease(steep_shared->lock);
		if (runs && (sees_all || is_member_of_role(GetUserId(), requester)))
			put_live_job(rsinfo, id, &progress);
	}
	PG_RETURN_NULL();
}

/* Why no pending job of this operation can be admitted now, or NULL. */
Datum
steep_repl_waiting_reason(PG_FUNCTION_ARGS)
{
	int needed = job_workers_needed(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int free_workers;

	if (!launcher_is_alive())
		PG_RETURN_TEXT_P(
			cstring_to_text("waiting for the steep_repl launcher, which is not running"));
	if (job_slots_free() == 0)
		PG_RETURN_TEXT_P(
			cstring_to_text(psprintf("waiting for a job slot: all %d are in use", STEEP_MAX_JOBS)));
	free_workers = workers_free();
	if (free_workers - workers_reserved() >= needed && MyBgworkerEntry == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(
		"waiting for background worker slots: a job needs %d, %d of max_worker_processes = %d are free and %d of them reserved (steep_repl.reserved_worker_slots); a role that has a job running leaves %d to others",
		needed, free_workers, max_worker_processes, workers_reserved(), STEEP_WORKERS_FOR_OTHERS)));
}

/* For health(), which any role may call: so as the owner. */
Datum
steep_repl_operation_counts(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	OwnerSession session;
	Oid caller = GetUserId();
	Datum values[3];
	bool nulls[3];
	char *last_error;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	owner_begin(&session);
	owner_execute("select * from steep_repl._count_jobs($1)", SQL_ARGS(arg_oid(caller)));
	values[0] = owner_value(0, 1, &nulls[0]);
	values[1] = owner_value(0, 2, &nulls[1]);
	last_error = owner_text(0, 3);
	nulls[2] = last_error == NULL;
	if (last_error != NULL)
	{
		/* SPI's memory goes with SPI_finish. */
		char *copy = SPI_palloc(strlen(last_error) + 1);

		strcpy(copy, last_error);
		last_error = copy;
	}
	owner_end(&session);
	values[2] = last_error ? CStringGetTextDatum(last_error) : (Datum) 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* An early answer for the session; the worker checks again when the job runs. */
Datum
steep_repl_check_output_path(PG_FUNCTION_ARGS)
{
	char *path = text_to_cstring(PG_GETARG_TEXT_PP(0));

	directory_check_write(path);
	PG_RETURN_TEXT_P(cstring_to_text(directory_normalize(path)));
}

/* Likewise of a directory to read from: also whether it is a snapshot. */
Datum
steep_repl_check_input_path(PG_FUNCTION_ARGS)
{
	char *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	OwnedFd *directory;

	directory_check_read_rights(path, NULL);
	directory = owned_fd_create(directory_open(path));
	directory_check_read_rights(path, apply_read_manifest(directory->fd, path));
	owned_fd_close(directory);
	PG_RETURN_TEXT_P(cstring_to_text(directory_normalize(path)));
}

Datum
steep_repl_level_range(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Codec codec;
	int min = 0;
	int max = 0;
	int dflt = 0;
	Datum values[3];
	bool nulls[3] = {true, true, true};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (codec_from_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), &codec))
	{
		codec_level_range(codec, &min, &max, &dflt);
		memset(nulls, 0, sizeof(nulls));
	}
	values[0] = Int32GetDatum(min);
	values[1] = Int32GetDatum(max);
	values[2] = Int32GetDatum(dflt);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* As lock.c computes it. */
Datum
steep_repl_lock_table_size(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) max_locks_per_xact * (MaxBackends + max_prepared_xacts));
}
