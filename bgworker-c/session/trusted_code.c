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
#include "base/compat.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

bool steep_trusted_code_only = false;

static object_access_hook_type next_access_hook = NULL;
static needs_fmgr_hook_type next_lookup_hook = NULL;
static fmgr_hook_type next_call_hook = NULL;
static planner_hook_type next_planner_hook = NULL;

static Oid reader = InvalidOid; /* who plans; not as whom a function runs meanwhile */

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

/* Whether a function is somebody's who could not be trusted with the caller's rights. */
static bool
is_untrusted(Oid function)
{
	Oid owner = function < FirstNormalObjectId ? BOOTSTRAP_SUPERUSERID : owner_of(function);
	Oid role = steep_plannings > 0 ? reader : GetUserId();

	return owner != role && !(OidIsValid(owner) && superuser_arg(owner));
}

/*
 * Trusted functions, too, are not to do what they like while a query is planned:
 * an owner chooses their arguments, such as that of set_config().
 */
static bool
does_something(Oid function)
{
	return steep_plannings > 0 && func_volatile(function) == PROVOLATILE_VOLATILE;
}

/* Raise an error if a function may not be run now. */
static void
check_function(Oid function)
{
	bool untrusted;

	if (!steep_trusted_code_only)
		return;
	untrusted = is_untrusted(function);
	if (!untrusted && !does_something(function))
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
		 errmsg("function %s is not run while tables are read",
				quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
										   get_func_name(function))),
		 untrusted
			 ? errdetail("It belongs to role \"%s\", and would run with the rights of role \"%s\".",
						 GetUserNameFromId(owner_of(function), true),
						 GetUserNameFromId(steep_plannings > 0 ? reader : GetUserId(), true))
			 : errdetail("It is volatile, and planning a query would run it."),
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
		check_function(object_id);
}

/*
 * Asked whenever a function that is not built in is looked up, also by one of the
 * server's own: a cast that a constructor of JSON finds, say. If so, it is not
 * expanded into the query, and at_call() is called before it is run.
 */
static bool
at_lookup(Oid function)
{
	if (steep_trusted_code_only && (is_untrusted(function) || does_something(function)))
		return true;
	return next_lookup_hook != NULL && next_lookup_hook(function);
}

static void
at_call(FmgrHookEventType event, FmgrInfo *function, Datum *private)
{
	if (event == FHET_START)
		check_function(function->fn_oid);
	if (next_call_hook != NULL)
		next_call_hook(event, function, private);
}

/*
 * Whether a query reads a table whose owner could choose what is evaluated while it is planned: any that is
 * not the reader's, and of a superuser any at all, since its partitions may be somebody else's.
 */
static bool
reads_table_of_others(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *entry = (RangeTblEntry *) node;

		return entry->rtekind == RTE_RELATION && entry->relid >= FirstNormalObjectId &&
			   (superuser() || !object_ownercheck(RelationRelationId, entry->relid, GetUserId()));
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_table_of_others, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reads_table_of_others, context);
}

static PlannedStmt *
plan(PLANNER_PARAMS)
{
	return (next_planner_hook != NULL ? next_planner_hook : standard_planner)(PLANNER_ARGS);
}

/*
 * Plan a query as maintenance commands do their work: what is evaluated meanwhile has the rights of a role
 * that is granted nothing, cannot leave anything behind in the session, and settings that it changes are as
 * before afterwards. So nothing is lost by what check_function() does not see.
 */
static PlannedStmt *
plan_without_rights(PLANNER_PARAMS)
{
	PlannedStmt *result;
	Oid role;
	int context;
	int settings = NewGUCNestLevel();

	GetUserIdAndSecContext(&role, &context);
	SetUserIdAndSecContext(ROLE_PG_USE_RESERVED_CONNECTIONS,
						   context | SECURITY_RESTRICTED_OPERATION);
	result = plan(PLANNER_ARGS);
	SetUserIdAndSecContext(role, context);
	AtEOXact_GUC(false, settings);
	return result;
}

static PlannedStmt *
at_planning(PLANNER_PARAMS)
{
	PlannedStmt *result;

	if (!steep_trusted_code_only)
		return plan(PLANNER_ARGS);
	if (steep_plannings++ == 0)
		reader = GetUserId();
	PG_TRY();
	{
		if (steep_plannings == 1 && reads_table_of_others((Node *) query, NULL))
			result = plan_without_rights(PLANNER_ARGS);
		else
			result = plan(PLANNER_ARGS);
	}
	PG_FINALLY();
	{
		steep_plannings--;
	}
	PG_END_TRY();
	return result;
}

/* Called once, when the library is loaded. */
void
trusted_code_init(void)
{
	next_access_hook = object_access_hook;
	object_access_hook = at_access;
	next_lookup_hook = needs_fmgr_hook;
	needs_fmgr_hook = at_lookup;
	next_call_hook = fmgr_hook;
	fmgr_hook = at_call;
	next_planner_hook = planner_hook;
	planner_hook = at_planning;
}
