/*
 * trusted_planning.c
 *	  While tables are only read, queries are planned without the reader's rights.
 *
 * The planner evaluates what is constant in index expressions and predicates and
 * in extended statistics, and what partitions are bound by. It does so in places
 * that no hook shows, and keeps what came of it in the session's caches.
 */
#include "base/settings.h"
#include "session/trusted_code.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/compat.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/planner.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

static planner_hook_type next_planner_hook = NULL;

static Oid reader = InvalidOid; /* who plans; not as whom a function runs meanwhile */
static bool is_restricted = false;
static bool has_planned = false; /* since the caches were forgotten */

/* Whether a query is being planned that reads a table of somebody else. */
bool
planning_is_restricted(void)
{
	return steep_plannings > 0 && is_restricted;
}

/* Whose rights count. */
Oid
planning_reader(void)
{
	return steep_plannings > 0 ? reader : GetUserId();
}

static bool
is_trusted_owner(Oid relation)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return OidIsValid(owner) && (owner == GetUserId() || superuser_arg(owner));
}

/* Whether a table, or a partition of it, has an owner who is neither the reader nor a superuser. */
bool
is_table_of_others(Oid relation)
{
	List *all;

	if (relation < FirstNormalObjectId)
		return false;
	if (!is_trusted_owner(relation))
		return true;
	if (!has_subclass(relation))
		return false;
	all = find_all_inheritors(relation, NoLock, NULL);
	foreach_oid (child, all)
		if (!is_trusted_owner(child))
			return true;
	return false;
}

/*
 * A virtual generated column is an expression of the table's owner, which would be evaluated for each row.
 * It is in the query only once that is planned.
 */
static void
check_virtual_columns(Oid relid, const Bitmapset *columns)
{
	Relation relation = table_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(relation);
	bool is_whole = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, columns);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL && !column->attisdropped &&
			(is_whole ||
			 bms_is_member(column->attnum - FirstLowInvalidHeapAttributeNumber, columns)))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("column \"%s\" of table \"%s\" is not read", NameStr(column->attname),
							RelationGetRelationName(relation)),
					 errdetail(
						 "It is generated when it is read, by an expression of the table's owner."),
					 errhint("Let the owner do this, or name another column.")));
	}
	table_close(relation, NoLock);
}

static bool
reads_table_of_others(Node *node, void *found)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;

		foreach_node (RangeTblEntry, entry, query->rtable)
		{
			if (entry->rtekind != RTE_RELATION || !is_table_of_others(entry->relid))
				continue;
			*(bool *) found = true;
			if (entry->perminfoindex != 0)
				check_virtual_columns(
					entry->relid, getRTEPermissionInfo(query->rteperminfos, entry)->selectedCols);
		}
		return query_tree_walker(query, reads_table_of_others, found, 0);
	}
	return expression_tree_walker(node, reads_table_of_others, found);
}

/* Say what a missing right has to do with the query. */
static void
rethrow_with_hint(MemoryContext context)
{
	ErrorData *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->hint == NULL)
		error->hint = pstrdup(
			"An index or statistics of a table calls it, which has no rights while the table is read for others than its owner. Let the owner do this, or leave the table out.");
	ReThrowError(error);
}

static PlannedStmt *
plan(PLANNER_PARAMS)
{
	return (next_planner_hook != NULL ? next_planner_hook : standard_planner)(PLANNER_ARGS);
}

/*
 * Plan a query as maintenance commands do their work: what is evaluated meanwhile has the rights of a role
 * that is granted nothing, cannot leave anything behind in the session, and settings that it changes are as
 * before afterwards. An error restores all that with the (sub)transaction.
 */
static PlannedStmt *
plan_without_rights(PLANNER_PARAMS)
{
	MemoryContext memory = CurrentMemoryContext;
	PlannedStmt *result;
	Oid role;
	int context;
	int settings = NewGUCNestLevel();

	GetUserIdAndSecContext(&role, &context);
	SetUserIdAndSecContext(ROLE_PG_USE_RESERVED_CONNECTIONS,
						   context | SECURITY_RESTRICTED_OPERATION);
	PG_TRY();
	{
		result = plan(PLANNER_ARGS);
	}
	PG_CATCH();
	{
		rethrow_with_hint(memory);
	}
	PG_END_TRY();
	SetUserIdAndSecContext(role, context);
	AtEOXact_GUC(false, settings);
	return result;
}

/* Under the guard; it may be a query within the planning of another one. */
static PlannedStmt *
plan_guarded(PLANNER_PARAMS)
{
	PlannedStmt *result;

	has_planned = true;
	if (steep_plannings++ == 0)
	{
		is_restricted = false;
		reader = GetUserId();
	}
	PG_TRY();
	{
		if (steep_plannings == 1)
			(void) reads_table_of_others((Node *) query, &is_restricted);
		if (steep_plannings == 1 && is_restricted)
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

/*
 * Under the guard SQL functions are not expanded. The relation cache keeps index expressions as they were
 * simplified first, and the queries of others in the session would not match them any more.
 */
static PlannedStmt *
at_planning(PLANNER_PARAMS)
{
	if (steep_trusted_code_only)
		return plan_guarded(PLANNER_ARGS);
	if (has_planned && AmRegularBackendProcess())
	{
		has_planned = false;
		RelationCacheInvalidate(false);
	}
	return plan(PLANNER_ARGS);
}

/* Called once, when the library is loaded. */
void
trusted_planning_init(void)
{
	next_planner_hook = planner_hook;
	planner_hook = at_planning;
}
