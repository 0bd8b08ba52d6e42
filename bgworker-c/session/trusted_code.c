/*
 * trusted_code.c
 *	  While tables are only read, no function of an untrusted role is executed.
 *
 * Statements that compare tables name no function of their owner. The planner
 * may call some all the same: it evaluates what is constant in index expressions
 * and predicates and in extended statistics. A superuser who looks at a table
 * would run that with a superuser's rights. Copiers scan tables without the
 * planner (table_rows.c), but for an extension's, of which they select some rows.
 */
#include "base/settings.h"
#include "session/session.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

bool steep_trusted_code_only = false;

static object_access_hook_type next_access_hook = NULL;
static needs_fmgr_hook_type next_lookup_hook = NULL;

static Oid
owner_of(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* Raise an error if a function may not be run now. */
static void
refuse_untrusted(Oid function)
{
	Oid owner;

	if (!steep_trusted_code_only || function < FirstNormalObjectId)
		return;
	owner = owner_of(function);
	if (!OidIsValid(owner) || owner == GetUserId() || superuser_arg(owner))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 errmsg("function %s is not run while tables are read",
				quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
										   get_func_name(function))),
		 errdetail("It belongs to role \"%s\", and would run with the rights of role \"%s\".",
				   GetUserNameFromId(owner, true), GetUserNameFromId(GetUserId(), true)),
		 errhint(
			 "An index or statistics of the table calls it. Let the table's owner do this, or leave the table out.")));
}

/* Asked before the executor runs a function. */
static void
at_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (next_access_hook != NULL)
		next_access_hook(access, class_id, object_id, sub_id, arg);
	if (access == OAT_FUNCTION_EXECUTE)
		refuse_untrusted(object_id);
}

/*
 * Asked whenever a function that is not built in is looked up to be called, also
 * by a function of the server's own: a cast that a constructor of JSON finds, say.
 */
static bool
at_lookup(Oid function)
{
	refuse_untrusted(function);
	return next_lookup_hook != NULL && next_lookup_hook(function);
}

/* Called once, when the library is loaded. */
void
trusted_code_init(void)
{
	next_access_hook = object_access_hook;
	object_access_hook = at_access;
	next_lookup_hook = needs_fmgr_hook;
	needs_fmgr_hook = at_lookup;
}
