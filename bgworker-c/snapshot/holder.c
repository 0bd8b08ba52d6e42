/*
 * holder.c
 *	  The worker that keeps a job's snapshot and its locks.
 *
 * It exports the one snapshot that everything imports, and later takes ACCESS
 * SHARE on every table: otherwise a TRUNCATE or a rewrite between snapshot and
 * copy would silently give an empty table. It runs no query itself.
 *
 * It leads a lock group that the coordinator and the copiers join. A session
 * that waits for an ACCESS EXCLUSIVE lock queues behind the holder; a copier
 * that then asked for its own lock would queue behind that session, and both
 * would wait for the holder for ever, which no deadlock detector sees. Members
 * of a group that already holds the lock pass by such a waiter.
 */
#include "base/settings.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogutils.h"
#include "base/compat.h"
#include "snapshot/lock_watch.h"
#include "miscadmin.h"
#include "snapshot/plan.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "replication/snapbuild.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "jobs/worker.h"

#define LOCK_RETRY_MS 50

static uint32 wait_event_hold = 0;
static uint32 wait_event_lock = 0;

/* A snapshot of now. */
static char *
export_present(XLogRecPtr *lsn)
{
	StartTransactionCommand();
	XactIsoLevel = XACT_REPEATABLE_READ;
	/* Read first: everything below this position is in the snapshot's past. */
	*lsn = GetXLogInsertRecPtr();
	return ExportSnapshot(GetTransactionSnapshot());
}

/*
 * A snapshot of exactly the point where a new logical slot begins: what the
 * snapshot lacks is what a subscription with this slot will get. The slot is
 * ephemeral, so it vanishes with this process until it is made persistent.
 */
static char *
export_slot_start(const char *slot_name, XLogRecPtr *lsn)
{
	LogicalDecodingContext *context;
	char *name;

	StartTransactionCommand();
	CheckSlotPermissions();
	CommitTransactionCommand();
	check_decoding_requirements();

	create_ephemeral_slot(slot_name);
	context = create_decoding_context("pgoutput", XL_ROUTINE(.page_read = read_local_xlog_page,
															 .segment_open = wal_segment_open,
															 .segment_close = wal_segment_close));
	DecodingContextFindStartpoint(context);
	*lsn = MyReplicationSlot->data.confirmed_flush;
	/* Begins the transaction that keeps the snapshot. */
	name = pstrdup(SnapBuildExportSnapshot(context->snapshot_builder));
	return name;
}

/* Take the snapshot and tell the coordinator its name. */
static void
export_snapshot(SteepJob *job)
{
	XLogRecPtr lsn;
	char *name =
		job->slot_name[0] == '\0' ? export_present(&lsn) : export_slot_start(job->slot_name, &lsn);

	SpinLockAcquire(&job->mutex);
	strlcpy(job->snapshot_name, name, sizeof(job->snapshot_name));
	job->snapshot_lsn = lsn;
	SpinLockRelease(&job->mutex);
	job_move_holder(job, HOLDER_STARTING, HOLDER_PINNED);
	job_wake_coordinator(job);
}

/*
 * To lock is a right too; what the planner lists is only advice. A table that
 * has been dropped meanwhile is no offence: the coordinator will notice.
 */
static bool
may_lock(Oid relid)
{
	bool is_missing = false;

	if (pg_class_aclcheck_ext(relid, GetUserId(), ACL_SELECT, &is_missing) == ACLCHECK_OK ||
		is_missing)
		return true;
	return pg_attribute_aclcheck_all_ext(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY,
										 &is_missing) == ACLCHECK_OK ||
		   is_missing;
}

/* Lock one table, or fail after lock_timeout with who was in the way. */
static void
lock_table(SteepJob *job, const char *name, Oid relid)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), steep_lock_timeout);

	if (!may_lock(relid))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for table %s", name)));
	while (!ConditionalLockRelationOid(relid, AccessShareLock))
	{
		worker_check_cancel(job);
		if (GetCurrentTimestamp() >= deadline)
			ereport(
				ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table %s within %d ms", name, steep_lock_timeout),
				 errdetail("%s.", lock_watch_blockers(relid)),
				 errhint("Retry when that session is done, or raise steep_repl.lock_timeout.")));
		job_show_table(job, name);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_RETRY_MS,
						 wait_event_lock);
		ResetLatch(MyLatch);
	}
}

static void
lock_tables(SteepJob *job)
{
	SnapshotPlan *plan = plan_attach(job->plan);

	for (uint32 i = 0; i < plan->n_tables; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (plan->tables[i].n_objects > 0)
			continue; /* no statement but VACUUM and its kin takes rows from under a snapshot there */
		lock_table(job, plan_string(plan, plan->tables[i].qualified_name), plan->tables[i].relid);
	}
	job_show_table(job, "");
	job_move_holder(job, HOLDER_LOCK_REQUESTED, HOLDER_LOCKED);
	job_wake_coordinator(job);
}

/* The snapshot is complete on disk: keep the slot beyond this process. */
static void
persist_slot(SteepJob *job)
{
	ReplicationSlotPersist();
	job_move_holder(job, HOLDER_PERSIST_REQUESTED, HOLDER_PERSISTED);
	job_wake_coordinator(job);
}

/* Keep the snapshot until released; lock, and persist the slot, when asked. */
static void
hold(SteepJob *job)
{
	BecomeLockGroupLeader();
	export_snapshot(job);
	while (job_has_coordinator(job))
	{
		HolderState state;

		worker_check_cancel(job);
		state = job_holder_state(job);
		if (state == HOLDER_RELEASED)
			break;
		if (state == HOLDER_LOCK_REQUESTED)
			lock_tables(job);
		if (state == HOLDER_PERSIST_REQUESTED)
			persist_slot(job);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000,
						 wait_event_hold);
		ResetLatch(MyLatch);
	}
}

void
steep_repl_holder_main(Datum arg)
{
	SteepJob *job = worker_start("holder");

	wait_event_hold = WaitEventExtensionNew("SteepReplHoldSnapshot");
	wait_event_lock = WaitEventExtensionNew("SteepReplLockTables");
	worker_run_helper(job, hold);
}
