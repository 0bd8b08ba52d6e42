/*
 * replicated_change.c
 *	  Tells a change that a logical replication worker applies from one that
 *	  code of some table makes while it does: a trigger, a default, a check.
 *
 * Our tables may be published by others, so rows of another node arrive here,
 * and guards and job triggers leave them alone. That must not be a way round
 * them for a role whose trigger fires in such a worker.
 */
#include "session/replicated_change.h"

#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(steep_repl_is_replicated_change);

/*
 * Called from a trigger of the table. The worker changes rows as their table's
 * owner, or as the subscription's, which is a superuser; a trigger of ours that
 * it fires itself is the only one at that moment. Code of another table's owner
 * runs as that owner, or below a trigger.
 */
bool
is_replicated_change(Oid table)
{
	return IsLogicalWorker() && DatumGetInt32(OidFunctionCall0(F_PG_TRIGGER_DEPTH)) == 1 &&
		   object_ownercheck(RelationRelationId, table, GetUserId());
}

Datum
steep_repl_is_replicated_change(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(is_replicated_change(PG_GETARG_OID(0)));
}
