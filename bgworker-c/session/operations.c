/*
 * operations.c
 *	  What sessions do to jobs that are over: prune, drop, list what is left. Each
 *	  checks the caller's rights over them, then writes as the owner.
 */
#include "postgres.h"

#include "fmgr.h"

#include "files/directory.h"
#include "funcapi.h"
#include "jobs/job_remains.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "base/roles.h"
#include "jobs/shared_state.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(steep_repl_prune);
PG_FUNCTION_INFO_V1(steep_repl_drop_snapshot);
PG_FUNCTION_INFO_V1(steep_repl_leftovers);
PG_FUNCTION_INFO_V1(steep_repl_pair_forget);

/*
 * Forget finished jobs of roles that the caller is a member of. Rows of
 * finished snapshots stay, and of others while something of them is left: they
 * tell what the directories are.
 */
Datum
steep_repl_prune(PG_FUNCTION_ARGS)
{
	Oid caller = GetUserId();
	OwnerSession session;
	bool isnull;
	int64 n;

	owner_begin(&session);
	owner_execute("select steep_repl._prune_jobs($1, $2)",
				  SQL_ARGS(arg_oid(caller), arg_datum(INTERVALOID, PG_GETARG_DATUM(0))));
	n = DatumGetInt64(owner_value(0, 1, &isnull));
	owner_end(&session);
	PG_RETURN_INT64(n);
}

/* As drop_pair() does: the rows are the workers' to write. */
Datum
steep_repl_pair_forget(PG_FUNCTION_ARGS)
{
	Oid caller = GetUserId();
	OwnerSession session;

	owner_begin(&session);
	owner_execute("select steep_repl._pair_forgotten($1, $2)",
				  SQL_ARGS(arg_oid(caller), arg_datum(TEXTOID, PG_GETARG_DATUM(0))));
	owner_end(&session);
	PG_RETURN_VOID();
}

/* Whether a remover is at the job's files, and may hang there. */
static bool
is_being_removed(const JobRemains *remains)
{
	bool result;

	if (steep_shared == NULL)
		return false;
	LWLockAcquire(steep_shared->lock, LW_SHARED);
	result = remains->path[0] != '\0' && remover_is_at(remains->path);
	LWLockRelease(steep_shared->lock);
	return result;
}

/* Remove the directory of a snapshot that is over; raises what stands in the way. */
static void
drop_directory(const JobRemains *remains)
{
	if (is_being_removed(remains))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("directory \"%s\" is being removed by a worker", remains->path),
			 errhint(
				 "Try again in a moment. If that does not help, its file system does not answer.")));
	switch (directory_remove(remains->path, &remains->mark))
	{
		case REMOVE_DONE:
			break;
		case REMOVE_ABSENT:
			ereport(NOTICE, (errmsg("directory \"%s\" does not exist", remains->path)));
			break;
		case REMOVE_NOT_OURS:
			ereport(
				WARNING,
				(errmsg(
					"directory \"%s\" does not carry this snapshot's marker, so nothing in it was removed",
					remains->path)));
			break;
		case REMOVE_FAILED:
			ereport(ERROR, (errcode_for_file_access(),
							errmsg("could not remove directory \"%s\": %m", remains->path)));
	}
}

/* Remove the slot that it made, unless a subscription has taken it over. */
static void
drop_slot(const JobRemains *remains, Oid caller)
{
	if (job_slot_retained_bytes(remains) < 0)
	{
		ereport(NOTICE, (errmsg("replication slot \"%s\" is gone or in use, so it was left alone",
								remains->slot_name)));
		return;
	}
	if (!superuser_arg(caller) && !has_rolreplication(caller))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to drop replication slot \"%s\"", remains->slot_name),
				 errdetail("Only roles with the REPLICATION attribute may drop slots.")));
	(void) job_slot_drop(remains);
}

static void
check_may_drop(const char *snapshot_id, Oid caller, Oid requester, const char *status)
{
	if (!can_be_role(caller, requester))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for snapshot \"%s\"", snapshot_id),
						errdetail("It was requested by another role.")));
	if (strcmp(status, "running") == 0 || strcmp(status, "pending") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("snapshot \"%s\" is %s", snapshot_id, status),
				 errhint("Cancel it first with steep_repl.cancel_snapshot('%s').", snapshot_id)));
}

/* Files and rows go at once; a ROLLBACK does not bring the files back. */
Datum
steep_repl_drop_snapshot(PG_FUNCTION_ARGS)
{
	char *snapshot_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid caller = GetUserId();
	OwnerSession session;
	bool isnull;
	int64 operation_id;
	const char *status;
	JobRemains remains;

	owner_begin(&session);
	owner_execute("select * from steep_repl._lock_snapshot($1)", SQL_ARGS(arg_text(snapshot_id)));
	operation_id = DatumGetInt64(owner_value(0, 1, &isnull));
	status = owner_text(0, 3);
	if (status == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("snapshot \"%s\" does not exist", snapshot_id)));
	check_may_drop(snapshot_id, caller, DatumGetObjectId(owner_value(0, 2, &isnull)), status);
	if (job_remains_find(operation_id, &remains))
	{
		if (remains.slot_name[0] != '\0')
			drop_slot(&remains, caller);
		if (remains.path[0] != '\0')
			drop_directory(&remains);
		job_remains_forget(operation_id);
	}
	owner_execute("select steep_repl._snapshot_dropped($1)", SQL_ARGS(arg_int8(operation_id)));
	owner_end(&session);
	PG_RETURN_BOOL(true);
}

/* One row of leftovers(); a size below 0 is unknown. */
static void
put_leftover(ReturnSetInfo *rsinfo, const char *kind, const char *name, int64 bytes,
			 const char *snapshot_id)
{
	Datum values[] = {CStringGetTextDatum(kind), CStringGetTextDatum(name), Int64GetDatum(bytes),
					  CStringGetTextDatum(snapshot_id)};
	bool nulls[] = {false, false, bytes < 0, false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * What jobs that are over left and nothing needs: directories without a
 * snapshot in them, and slots that no subscription has taken.
 */
Datum
steep_repl_leftovers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerSession session;
	SPITupleTable *jobs;
	uint64 n;
	Oid caller = GetUserId();

	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&session);
	n = owner_execute("select * from steep_repl._jobs_with_remains($1)", SQL_ARGS(arg_oid(caller)));
	jobs = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool isnull;
		int64 id = DatumGetInt64(SPI_getbinval(jobs->vals[i], jobs->tupdesc, 1, &isnull));
		char *snapshot_id = SPI_getvalue(jobs->vals[i], jobs->tupdesc, 2);
		bool complete = DatumGetBool(SPI_getbinval(jobs->vals[i], jobs->tupdesc, 3, &isnull));
		JobRemains remains;
		int64 bytes;

		if (!job_remains_find(id, &remains))
			continue;
		if (is_being_removed(&remains))
			put_leftover(rsinfo, "directory", remains.path, -1, snapshot_id);
		else if (!complete && remains.path[0] != '\0' &&
				 (bytes = directory_bytes(remains.path, &remains.mark)) >= 0)
			put_leftover(rsinfo, "directory", remains.path, bytes, snapshot_id);
		if ((bytes = job_slot_retained_bytes(&remains)) >= 0)
			put_leftover(rsinfo, "slot", remains.slot_name, bytes, snapshot_id);
	}
	owner_end(&session);
	PG_RETURN_NULL();
}
