/*
 * origin.c
 *	  Where changes are said to come from, so that subscriptions with
 *	  origin = none do not send them on. Those of a subscription carry its own
 *	  replication origin, which its apply worker has in use: rows that are
 *	  written beside it and are to look as if it had brought them share that.
 *
 * Code of others may run in the same session, and take its origin away or give
 * it another one. PostgreSQL trusts that who names an origin has it set up, and
 * crashes otherwise; and that an origin which is in the WAL exists. So both are
 * looked at in each transaction.
 */
#include "jobs/origin.h"

#include "access/xlog.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_replication_origin.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "base/compat.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(steep_repl_use_origin);

/*
 * Whether changes may say that they come from elsewhere, by the rule of the
 * function that lets a session do so.
 */
bool
origin_may_be_set(void)
{
	return object_aclcheck(ProcedureRelationId, F_PG_REPLICATION_ORIGIN_SESSION_SETUP, GetUserId(),
						   ACL_EXECUTE) == ACLCHECK_OK;
}

/* Whether an origin exists, and until the end of the transaction goes on to. */
static bool
keep_origin(ReplOriginId origin)
{
	char *name;

	LockSharedObject(ReplicationOriginRelationId, origin, 0, AccessShareLock);
	return replorigin_by_oid(origin, true, &name);
}

/*
 * Have the transaction at hand carry the origin of this session, or
 * DoNotReplicateId, which needs none and is what it carries where the origin is
 * gone. Its position at the origin is not known. The time is written to the WAL
 * as it is here, where recovery and standbys read that of the commit.
 */
void
origin_begin(ReplOriginId origin)
{
	if (origin == InvalidReplOriginId || origin == DoNotReplicateId || !keep_origin(origin))
	{
		transaction_origin = origin == InvalidReplOriginId ? origin : DoNotReplicateId;
		transaction_origin_lsn = InvalidXLogRecPtr;
		transaction_origin_timestamp = GetCurrentTimestamp();
		return;
	}
	/* raises if this session has none set up */
	DirectFunctionCall2(pg_replication_origin_xact_setup, LSNGetDatum(InvalidXLogRecPtr),
						TimestampTzGetDatum(GetCurrentTimestamp()));
	transaction_origin = origin;
}

void
origin_end(void)
{
	transaction_origin = InvalidReplOriginId;
}

/*
 * The origin that SQL has given this session, which is then used where
 * origin_begin says so; without one DoNotReplicateId, which needs none.
 */
ReplOriginId
origin_take(void)
{
	ReplOriginId origin = transaction_origin;

	origin_end();
	return origin == InvalidReplOriginId ? DoNotReplicateId : origin;
}

/* Have this worker share an origin that another worker of the same job has set up. */
void
origin_join(ReplOriginId origin, int pid)
{
	if (!keep_origin(origin))
		return;
	replorigin_session_setup(origin, pid);
	transaction_origin = origin;
}

/*
 * Whose an origin is that is shared can drop it, take it from the process that
 * has it, or move the position that a subscription goes on from, by functions
 * that check nothing but EXECUTE.
 */
static void
check_may_use(int pid)
{
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("cannot set a replication origin during recovery")));
	if (!origin_may_be_set() || (pid != 0 && !superuser()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s a replication origin", pid != 0 ? "share" : "set"),
				 pid != 0 ? errdetail("Only a superuser may do that.")
						  : errhint("GRANT EXECUTE ON FUNCTION "
									"pg_replication_origin_session_setup TO that role.")));
}

/*
 * steep_repl._use_origin(name, pid): as pg_replication_origin_session_setup,
 * but together with the process that has it in use, unless pid is 0. May be
 * called again in each transaction, whose commit then has its own time. Who
 * shares it must not call pg_replication_origin_session_reset, which would take
 * the origin from that process.
 */
Datum
steep_repl_use_origin(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int pid = PG_GETARG_INT32(1);
	ReplOriginId origin;

	check_may_use(pid);
	origin = replorigin_by_name(name, false);
	if (!keep_origin(origin))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("replication origin \"%s\" does not exist", name)));
	if (transaction_origin != origin)
		replorigin_session_setup(origin, pid);
	transaction_origin = origin;
	origin_begin(origin);
	PG_RETURN_VOID();
}
