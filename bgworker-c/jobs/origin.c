/*
 * origin.c
 *	  Where changes are said to come from, so that subscriptions with
 *	  origin = none do not send them on. Those of a subscription carry its own
 *	  replication origin, which its apply worker has in use: rows that are
 *	  written beside it and are to look as if it had brought them share that.
 */
#include "jobs/origin.h"

#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "base/compat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

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

/*
 * The origin of this session, or DoNotReplicateId, for one transaction. A
 * position at the origin is not known, and the time is that of the commit: it
 * would else be that of the session's first one.
 */
void
origin_begin(ReplOriginId origin)
{
	transaction_origin = origin;
	transaction_origin_lsn = InvalidXLogRecPtr;
	transaction_origin_timestamp = 0;
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

/*
 * steep_repl._use_origin(name, pid): as pg_replication_origin_session_setup,
 * but together with the process that has it in use, unless pid is 0. May be
 * called again in each transaction, whose commit then has its own time. There
 * is no way back: pg_replication_origin_session_reset would take the origin
 * from that process.
 */
Datum
steep_repl_use_origin(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReplOriginId origin;

	if (!origin_may_be_set())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied to set a replication origin"),
						errhint("GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup TO "
								"that role.")));
	origin = replorigin_by_name(name, false);
	if (transaction_origin != origin)
		replorigin_session_setup(origin, PG_GETARG_INT32(1));
	origin_begin(origin);
	PG_RETURN_VOID();
}
