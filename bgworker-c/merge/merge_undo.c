/*
 * merge_undo.c
 *	  Queueing the undo of a merge, as a job of the role that merged.
 *
 * Whoever may undo a merge, the images in its audit log come from the role that
 * merged. So does code that runs where they are written, such as triggers of
 * its tables. All that must not be done with the rights of, say, a superuser.
 */
#include "merge/merge.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "base/roles.h"
#include "base/settings.h"
#include "fmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(steep_repl_queue_undo);
PG_FUNCTION_INFO_V1(steep_repl_queued_for);

/* Whose job is being inserted; invalid: the current user's. */
static Oid queued_for = InvalidOid;

/* For the guard of work_queue: the role that a job is queued for, NULL but within steep_repl._queue_undo. */
Datum
steep_repl_queued_for(PG_FUNCTION_ARGS)
{
	if (!OidIsValid(queued_for))
		PG_RETURN_NULL();
	PG_RETURN_OID(queued_for);
}

/* What is done as the owner must be allowed to the caller. */
static void
check_may_queue(Oid caller)
{
	Oid queue = get_relname_relid("work_queue", get_namespace_oid(STEEP_NAME, false));

	if (pg_class_aclcheck(queue, caller, ACL_INSERT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, "work_queue");
}

/* The role that merged, if the caller may undo that merge with this peer. */
static Oid
find_requester(const char *merge_id, const char *peer, Oid caller)
{
	bool isnull;
	Oid requester;

	owner_execute("select * from steep_repl._undoable_merge($1, $2)",
				  SQL_ARGS(arg_text(merge_id), arg_text(peer)));
	requester = DatumGetObjectId(owner_value(0, 1, &isnull));
	if (isnull || !can_be_role(caller, requester))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("there is no merge of yours with that peer to undo"),
						errhint("Use steep_repl.undo_merge().")));
	if (!DatumGetBool(owner_value(0, 3, &isnull)))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("the role that merged does not exist any more")));
	/* The role's own code could use the connection. */
	if (requester != caller && DatumGetBool(owner_value(0, 2, &isnull)))
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("only the role that merged may give a connection string"),
			 errdetail("The undo runs as that role, which could use the connection for anything."),
			 errhint(
				 "Give a node or a foreign server as peer that this role may use, or SET ROLE.")));
	return requester;
}

/* steep_repl._queue_undo(merge_id, peer): the id of the job. */
Datum
steep_repl_queue_undo(PG_FUNCTION_ARGS)
{
	char *merge_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *peer = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Oid caller = GetUserId();
	OwnerSession session;
	bool isnull;
	volatile int64 id = 0;

	check_may_queue(caller);
	owner_begin(&session);
	PG_TRY();
	{
		queued_for = find_requester(merge_id, peer, caller);
		owner_execute("select steep_repl._undo_queued($1, $2, $3)",
					  SQL_ARGS(arg_text(merge_id), arg_text(peer),
							   arg_text(GetUserNameFromId(caller, false))));
		id = DatumGetInt64(owner_value(0, 1, &isnull));
	}
	PG_FINALLY();
	{
		queued_for = InvalidOid;
	}
	PG_END_TRY();
	owner_end(&session);
	PG_RETURN_INT64(id);
}
