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
#include "catalog/pg_type.h"
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
find_requester(Datum *arguments, Oid caller)
{
	static const char *const sql =
		"select m.requested_by_oid, steep_repl._is_conninfo($2), pg_get_userbyid(m.requested_by_oid) = m.requested_by "
		"from steep_repl.merges m where m.merge_id = $1 and not m.dry_run and m.undoes is null "
		"and m.status in ('complete', 'failed', 'cancelled') and steep_repl._is_here(m.system_identifier, m.database_oid) "
		"and steep_repl._is_same_peer($2, m.peer)";
	bool isnull;
	Oid requester = InvalidOid;

	if (owner_execute(sql, 2, (Oid[]){TEXTOID, TEXTOID}, arguments, NULL) == 1)
		requester = DatumGetObjectId(owner_value(0, 1, &isnull));
	if (!OidIsValid(requester) || !can_be_role(caller, requester))
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
	Datum arguments[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	Oid caller = GetUserId();
	OwnerSession session;
	bool isnull;
	volatile int64 id = 0;

	check_may_queue(caller);
	owner_begin(&session);
	PG_TRY();
	{
		Oid requester = find_requester(arguments, caller);

		queued_for = requester;
		if (owner_execute("insert into steep_repl.work_queue (operation, params) "
						  "values ('merge_undo', steep_repl._undo_params($1, $2, $3)) returning id",
						  3, (Oid[]){TEXTOID, TEXTOID, TEXTOID},
						  (Datum[]){arguments[0], arguments[1],
									CStringGetTextDatum(GetUserNameFromId(caller, false))},
						  NULL) != 1)
			elog(ERROR, "the undo of a merge was not queued");
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
