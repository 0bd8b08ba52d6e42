/*
 * lock_guard.c
 *	  Nobody but their owner waits for, or holds, a lock on our tables or catalogs
 *	  that the jobs of others would have to wait for.
 *
 * Whoever may UPDATE or DELETE rows of a table may also LOCK it. And some
 * statements ask for a strong lock before they find out that they may not be
 * executed: behind one that waits all others wait, too. So what a statement
 * names is looked at before it begins. A name may mean something else by the
 * time that the lock is there, from when on it cannot: so it is looked at again.
 */
#include "base/settings.h"
#include "session/session.h"

#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "rewrite/rewriteSupport.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

static ProcessUtility_hook_type next_hook = NULL;

/* What a LOCK of a view also locks. */
typedef struct LockWalk
{
	List *seen; /* oids */
	bool nowait;
} LockWalk;

/* A table or an index that jobs need: of the extension, or a catalog. */
static bool
is_needed(Oid relid)
{
	Oid extension = get_extension_oid(STEEP_NAME, true);

	if (!OidIsValid(extension))
		return false;
	if (get_rel_relkind(relid) == RELKIND_INDEX)
		relid = IndexGetRelation(relid, true);
	/* whose it is does not matter: nobody has a reason to lock one */
	if (get_rel_relkind(relid) == RELKIND_TOASTVALUE)
		return true;
	return IsCatalogRelationOid(relid) ||
		   getExtensionOfObject(RelationRelationId, relid) == extension;
}

static void
refuse_needed(Oid relid)
{
	if (!is_needed(relid) || object_ownercheck(RelationRelationId, relid, GetUserId()))
		return;
	ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("permission denied to lock \"%s\"", get_rel_name(relid)),
					errdetail("Jobs of all roles would wait."),
					errhint("Only its owner and superusers may run statements that lock it in a "
							"mode above ROW EXCLUSIVE.")));
}

/*
 * What a name means now. It is written into the statement with its schema: while that waits,
 * the name alone could come to mean another table.
 */
static Oid
resolve(RangeVar *name)
{
	Oid relid = RangeVarGetRelid(name, NoLock, true);

	if (OidIsValid(relid) && name->schemaname == NULL)
		name->schemaname = get_namespace_name(get_rel_namespace(relid));
	return relid;
}

static void
refuse_name(RangeVar *name)
{
	Oid relid = name == NULL ? InvalidOid : resolve(name);

	if (OidIsValid(relid))
		refuse_needed(relid);
}

/* ---- LOCK ---- */

static void refuse_locked(Oid relid, LockWalk *walk);

static bool
walk_query(Node *node, void *arg)
{
	ListCell *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, walk_query, arg);
	foreach (lc, castNode(Query, node)->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, lc);

		if (entry->rtekind == RTE_RELATION)
			refuse_locked(entry->relid, arg);
	}
	return query_tree_walker(castNode(Query, node), walk_query, arg, QTW_IGNORE_JOINALIASES);
}

/* The view's lock is given back at once: two sessions that kept it would wait for each other. */
static void
walk_view(Oid relid, LockWalk *walk)
{
	Relation view;

	if (walk->nowait && !ConditionalLockRelationOid(relid, AccessShareLock))
		return; /* LOCK will say so */
	view = try_relation_open(relid, walk->nowait ? NoLock : AccessShareLock);
	if (view != NULL && view->rd_rel->relkind == RELKIND_VIEW)
		(void) walk_query((Node *) get_view_query(view), walk);
	if (view != NULL)
		relation_close(view, AccessShareLock);
}

static void
refuse_locked(Oid relid, LockWalk *walk)
{
	check_stack_depth();
	if (list_member_oid(walk->seen, relid))
		return;
	walk->seen = lappend_oid(walk->seen, relid);
	refuse_needed(relid);
	if (get_rel_relkind(relid) == RELKIND_VIEW)
		walk_view(relid, walk);
}

/* pg_dump's ACCESS SHARE, and what any SELECT or UPDATE takes, is nobody's business. */
static void
check_lock(const Node *node)
{
	const LockStmt *stmt = (const LockStmt *) node;
	LockWalk walk = {.nowait = stmt->nowait};
	ListCell *lc;

	if (stmt->mode <= RowExclusiveLock)
		return;
	foreach (lc, stmt->relations)
	{
		Oid relid = resolve(lfirst_node(RangeVar, lc));

		if (OidIsValid(relid))
			refuse_locked(relid, &walk);
	}
}

/* ---- statements that lock another table than their own before they look at rights ---- */

static void
check_constraint(const Node *node)
{
	if (IsA(node, Constraint) && ((const Constraint *) node)->contype == CONSTR_FOREIGN)
		refuse_name(((const Constraint *) node)->pktable);
}

/* Also of CREATE TABLE, whose foreign keys come as a statement like this. */
static void
check_alter(const Node *node)
{
	const AlterTableStmt *stmt = (const AlterTableStmt *) node;
	ListCell *lc;

	foreach (lc, stmt->cmds)
	{
		const AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		ListCell *constraint;

		/* to attach, or to detach */
		if (cmd->def != NULL && IsA(cmd->def, PartitionCmd))
			refuse_name(((const PartitionCmd *) cmd->def)->name);
		else if (cmd->subtype == AT_AddConstraint)
			check_constraint(cmd->def);
		else if (cmd->subtype == AT_AddColumn)
			foreach (constraint, castNode(ColumnDef, cmd->def)->constraints)
				check_constraint(lfirst(constraint));
	}
}

static void
check_create(const Node *node)
{
	const CreateStmt *stmt = (const CreateStmt *) node;
	ListCell *lc;

	if (stmt->partbound != NULL)
		foreach (lc, stmt->inhRelations)
			refuse_name(lfirst_node(RangeVar, lc));
}

static void
check_trigger(const Node *node)
{
	refuse_name(((const CreateTrigStmt *) node)->relation);
}

static void
check_rule(const Node *node)
{
	refuse_name(((const RuleStmt *) node)->relation);
}

static void
check_depends(const Node *node)
{
	refuse_name(((const AlterObjectDependsStmt *) node)->relation);
}

/* What looks at a kind of statement before it begins. */
typedef void (*StatementCheck)(const Node *node);

static StatementCheck
check_of(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_LockStmt:
			return check_lock;
		case T_CreateTrigStmt:
			return check_trigger;
		case T_RuleStmt:
			return check_rule;
		case T_AlterObjectDependsStmt:
			return check_depends;
		case T_AlterTableStmt:
			return check_alter;
		case T_CreateStmt:
		case T_CreateForeignTableStmt: /* begins with one */
			return check_create;
		default:
			return NULL;
	}
}

/* Of the statements only those above cost anything. */
static void
guard_locks(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			DestReceiver *dest, QueryCompletion *completion)
{
	StatementCheck check = check_of(pstmt->utilityStmt);

	/* names are written into it */
	if (check != NULL && read_only_tree)
	{
		pstmt = copyObject(pstmt);
		read_only_tree = false;
	}
	if (check != NULL)
		check(pstmt->utilityStmt);
	(next_hook != NULL ? next_hook : standard_ProcessUtility)(
		pstmt, query, read_only_tree, context, params, environment, dest, completion);
	if (check == check_lock)
		check(pstmt->utilityStmt);
}

/* Called once, by the postmaster: where the library is not preloaded there are no jobs. */
void
lock_guard_init(void)
{
	next_hook = ProcessUtility_hook;
	ProcessUtility_hook = guard_locks;
}
