/*
 * row_copy.c
 *	  COPY FROM with rows that C code makes, and the rights that COPY needs.
 *
 * COPY checks no rights when it is called from C: they are checked here, as
 * the statement would.  It does all that follows on a row, and writes many
 * rows at once, which INSERT does not.
 */
#include "text/row_copy.h"

#include "base/roles.h"
#include "commands/copyapi.h"
#include "executor/executor.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

/* The columns that are inserted; without a list, all. */
static Bitmapset *
inserted_columns(Relation rel, List *columns)
{
	TupleDesc desc = RelationGetDescr(rel);
	Bitmapset *result = NULL;
	ListCell *lc;

	foreach (lc, columns)
	{
		AttrNumber attnum = get_attnum(RelationGetRelid(rel), strVal(lfirst(lc)));

		if (attnum > 0)
			result = bms_add_member(result, attnum - FirstLowInvalidHeapAttributeNumber);
	}
	for (int i = 0; columns == NIL && i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			result = bms_add_member(result, i + 1 - FirstLowInvalidHeapAttributeNumber);
	return result;
}

/* The right to INSERT into these columns, and no row security, as for COPY FROM; what COPY begins with. */
ParseState *
row_copy_rights(Relation rel, List *columns)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem =
		addRangeTableEntryForRelation(pstate, rel, RowExclusiveLock, NULL, false, false);
	RTEPermissionInfo *perminfo = nsitem->p_perminfo;

	check_schema_usage(rel);
	perminfo->requiredPerms = ACL_INSERT;
	perminfo->insertedCols = inserted_columns(rel, columns);
	(void) ExecCheckPermissions(pstate->p_rtable, pstate->p_rteperminfos, true);
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("COPY FROM is not supported with row-level security")));
	return pstate;
}

/* COPY wants something to read from, which then is not read. */
static int
no_bytes(void *outbuf, int minread, int maxread)
{
	return 0;
}

/* Write all rows of a source; how many were written. */
uint64
row_copy(Relation rel, List *columns, RowSourceBegin begin, RowSource source)
{
	ParseState *pstate = row_copy_rights(rel, columns);
	CopyFromState copy = BeginCopyFrom(pstate, rel, NULL, NULL, false, no_bytes, columns, NIL);
	CopyFromRoutine routine = *copy->routine;
	uint64 rows;

	routine.CopyFromOneRow = source;
	copy->routine = &routine;
	begin(copy);
	rows = CopyFrom(copy);
	EndCopyFrom(copy);
	free_parsestate(pstate);
	return rows;
}
