/*
 * operations.c
 *	  What sessions do to jobs that are over: prune, drop, list what is left. Each
 *	  checks the caller's rights over them, then writes as the owner.
 */
#include "postgres.h"

#include "fmgr.h"

#include "catalog/pg_type.h"
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

#define MINE "steep_repl._is_here(system_identifier, database_oid) "

/* What applies have done is of use only while they can be retried. */
static void
forget_marks(void)
{
	owner_execute("delete from steep_repl._apply_done a where not exists "
				  "(select from steep_repl.work_queue w where w.id = a.operation_id)",
				  0, NULL, NULL, NULL);
}

/*
 * Forget finished jobs of roles that the caller is a member of. Rows of
 * finished snapshots stay, and of others while something of them is left: they
 * tell what the directories are.
 */
Datum
steep_repl_prune(PG_FUNCTION_ARGS)
{
	Oid types[] = {INTERVALOID, OIDOID};
	Datum values[] = {PG_GETARG_DATUM(0), ObjectIdGetDatum(GetUserId())};
	OwnerSession session;
	uint64 n;

	owner_begin(&session);
	n = owner_execute(
		"delete from steep_repl.work_queue w where w.status in ('complete', 'failed', 'cancelled') "
		"and w.completed_at < now() - $1 and pg_has_role($2, w.requested_by_oid, 'MEMBER') and " MINE,
		2, types, values, NULL);
	owner_execute(
		"delete from steep_repl.snapshots s where s.status in ('failed', 'cancelled') "
		"and s.completed_at < now() - $1 and pg_has_role($2, s.requested_by_oid, 'MEMBER') "
		"and steep_repl._is_here(s.system_identifier, s.database_oid) "
		"and not exists (select from steep_repl.work_queue w where w.id = s.operation_id) "
		"and not exists (select from steep_repl._job_directories d where d.operation_id = s.operation_id)",
		2, types, values, NULL);
	owner_execute(
		"delete from steep_repl.overlaps o where o.status in ('complete', 'failed', 'cancelled') "
		"and o.completed_at < now() - $1 and pg_has_role($2, o.requested_by_oid, 'MEMBER') "
		"and steep_repl._is_here(o.system_identifier, o.database_oid) "
		"and not exists (select from steep_repl.work_queue w where w.id = o.operation_id)",
		2, types, values, NULL);
	owner_execute(
		"delete from steep_repl.overlap_rows r where not exists (select from steep_repl.overlaps o where o.overlap_id = r.overlap_id)",
		0, NULL, NULL, NULL);
	/* what a merge has written can be undone as long as its row is there */
	owner_execute(
		"delete from steep_repl.merges m where m.status in ('complete', 'failed', 'cancelled') "
		"and m.completed_at < now() - $1 and pg_has_role($2, m.requested_by_oid, 'MEMBER') "
		"and steep_repl._is_here(m.system_identifier, m.database_oid) "
		"and not exists (select from steep_repl.work_queue w where w.id = m.operation_id) "
		"and not exists (select from steep_repl.merge_audit_log a where a.merge_id = m.merge_id) "
		"and not exists (select from steep_repl.merge_conflicts c where c.merge_id = m.merge_id and c.status = 'open')",
		2, types, values, NULL);
	forget_marks();
	owner_end(&session);
	PG_RETURN_INT64((int64) n);
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
	if (owner_execute(
			"select s.operation_id, s.requested_by_oid, s.status from steep_repl.snapshots s where s.snapshot_id = $1 "
			"and steep_repl._is_here(s.system_identifier, s.database_oid) for update",
			1, (Oid[]){TEXTOID}, (Datum[]){PG_GETARG_DATUM(0)}, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("snapshot \"%s\" does not exist", snapshot_id)));
	operation_id = DatumGetInt64(owner_value(0, 1, &isnull));
	if (!can_be_role(caller, DatumGetObjectId(owner_value(0, 2, &isnull))))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for snapshot \"%s\"", snapshot_id),
						errdetail("It was requested by another role.")));
	status = owner_text(0, 3);
	if (strcmp(status, "running") == 0 || strcmp(status, "pending") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("snapshot \"%s\" is %s", snapshot_id, status),
				 errhint("Cancel it first with steep_repl.cancel_snapshot('%s').", snapshot_id)));

	/* With the row locked no remover begins with these files. */
	owner_execute("select from steep_repl._job_directories where operation_id = $1 for update", 1,
				  (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(operation_id)}, NULL);
	if (job_remains_find(operation_id, &remains))
	{
		if (remains.slot_name[0] != '\0')
			drop_slot(&remains, caller);
		if (remains.path[0] != '\0')
			drop_directory(&remains);
		job_remains_forget(operation_id);
	}
	owner_execute("delete from steep_repl.snapshots where operation_id = $1", 1, (Oid[]){INT8OID},
				  (Datum[]){Int64GetDatum(operation_id)}, NULL);
	owner_execute("delete from steep_repl.work_queue where id = $1", 1, (Oid[]){INT8OID},
				  (Datum[]){Int64GetDatum(operation_id)}, NULL);
	forget_marks();
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
	static const char *const sql =
		"select s.operation_id, s.snapshot_id, s.status = 'complete' from steep_repl._job_directories d "
		"join steep_repl.snapshots s on s.operation_id = d.operation_id "
		"where s.status in ('complete', 'failed', 'cancelled') and pg_has_role($1, s.requested_by_oid, 'MEMBER') "
		"and steep_repl._is_here(d.system_identifier, d.database_oid) order by s.created_at";
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	OwnerSession session;
	SPITupleTable *jobs;
	uint64 n;
	Oid caller = GetUserId();

	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&session);
	n = owner_execute(sql, 1, (Oid[]){OIDOID}, (Datum[]){ObjectIdGetDatum(caller)}, NULL);
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
