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
#include "session/trusted_code.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

bool steep_trusted_code_only = false;

static object_access_hook_type next_access_hook = NULL;
static needs_fmgr_hook_type next_lookup_hook = NULL;
static fmgr_hook_type next_call_hook = NULL;
static ProcessUtility_hook_type next_utility_hook = NULL;

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

	return owner != planning_reader() && !(OidIsValid(owner) && superuser_arg(owner));
}

/*
 * Trusted functions, too, are not to do what they like where a table's owner may
 * choose their arguments: while a query that reads the table is planned, or
 * executed. All volatile ones are refused then but for what our queries call.
 */
static bool
does_something(Oid function)
{
	static const Oid harmless[] = {F_CLOCK_TIMESTAMP, F_PG_XACT_COMMIT_TIMESTAMP};

	if (function == F_SET_CONFIG)
		return true;
	if (!planning_is_restricted() && !execution_is_restricted())
		return false;
	for (size_t i = 0; i < lengthof(harmless); i++)
		if (function == harmless[i])
			return false;
	return func_volatile(function) == PROVOLATILE_VOLATILE;
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
						 GetUserNameFromId(planning_reader(), true))
			 : errdetail("It could change something, and nobody has called it."),
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
	/* types' functions for input and output may have been called volatile by who did not care */
	if (steep_trusted_code_only &&
		(is_untrusted(function) || (planning_is_restricted() && does_something(function))))
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

static void
utility(PlannedStmt *statement, const char *text, bool read_only, ProcessUtilityContext context,
		ParamListInfo params, QueryEnvironment *environment, DestReceiver *destination,
		QueryCompletion *completion)
{
	(next_utility_hook != NULL ? next_utility_hook : standard_ProcessUtility)(
		statement, text, read_only, context, params, environment, destination, completion);
}

static void
at_utility(PlannedStmt *statement, const char *text, bool read_only, ProcessUtilityContext context,
		   ParamListInfo params, QueryEnvironment *environment, DestReceiver *destination,
		   QueryCompletion *completion)
{
	volatile bool before = steep_in_set_statement;

	steep_in_set_statement = IsA(statement->utilityStmt, VariableSetStmt);
	PG_TRY();
	{
		utility(statement, text, read_only, context, params, environment, destination, completion);
	}
	PG_FINALLY();
	{
		steep_in_set_statement = before;
	}
	PG_END_TRY();
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
	next_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = at_utility;
	trusted_planning_init();
	trusted_execution_init();
}
