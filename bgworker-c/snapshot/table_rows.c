/*
 * table_rows.c
 *	  The rows of a table, or of a range of its blocks, as lines of COPY text.
 *
 * A scan, as COPY's, and no SELECT: the planner evaluates what is constant in
 * index expressions and predicates and in extended statistics, which is code of
 * the table's owner. What SELECT would check is checked here.
 */
#include "snapshot/table_rows.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "base/roles.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "text/row_source.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* The columns' numbers. A virtual column is nowhere in the table. */
static AttrNumber *
find_columns(Relation rel, const SnapshotPlan *plan, const PlanTable *table)
{
	AttrNumber *columns = palloc_array(AttrNumber, table->n_columns + 1);
	const char *name = plan_string(plan, table->columns);

	for (uint32 i = 0; i < table->n_columns; i++, name += strlen(name) + 1)
	{
		columns[i] = get_attnum(RelationGetRelid(rel), name);
		if (columns[i] <= 0 ||
			TupleDescAttr(RelationGetDescr(rel), columns[i] - 1)->attgenerated != '\0')
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("table %s has no column \"%s\" to copy",
								   plan_string(plan, table->qualified_name), name),
							errhint("Take a new snapshot.")));
	}
	return columns;
}

/* The rights to these columns, as the executor checks them, and to the table's schema. */
static void
check_rights(Relation rel, const AttrNumber *columns, uint32 n)
{
	ParseState *state = make_parsestate(NULL);
	RTEPermissionInfo *permissions;

	check_schema_usage(rel);
	permissions =
		addRangeTableEntryForRelation(state, rel, AccessShareLock, NULL, false, false)->p_perminfo;
	permissions->requiredPerms = ACL_SELECT;
	for (uint32 i = 0; i < n; i++)
		permissions->selectedCols = bms_add_member(permissions->selectedCols,
												   columns[i] - FirstLowInvalidHeapAttributeNumber);
	(void) ExecCheckPermissions(state->p_rtable, state->p_rteperminfos, true);
	free_parsestate(state);
}

/* A scan knows no row security: rows that it would hide are an error. */
static void
check_row_security(Relation rel)
{
	/* raises the error itself while row_security is off, as it is in a copier */
	if (check_enable_rls(RelationGetRelid(rel), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security hides rows of table \"%s\"", RelationGetRelationName(rel))));
}

/*
 * Of one chunk, in the order of its blocks: not from where another scan of the
 * table is, which would leave out blocks. Only heap tables have several chunks.
 */
static TableScanDesc
begin_scan(Relation rel, const PlanTable *table, const PlanChunk *chunk)
{
	TableScanDesc scan = table_beginscan_strat(rel, GetActiveSnapshot(), 0, NULL, true, false);

	Assert(table->chunks == 1 || rel->rd_rel->relam == HEAP_TABLE_AM_OID);
	if (table->chunks > 1)
	{
		BlockNumber blocks = ((HeapScanDesc) scan)->rs_nblocks;
		BlockNumber first = Min(chunk->first_block, blocks);

		heap_setscanlimits(scan, first, Min(chunk->end_block, blocks) - first);
	}
	return scan;
}

/*
 * Read a chunk on the active snapshot. What is allocated goes with the
 * transaction.
 */
void
table_rows_read(const SnapshotPlan *plan, const PlanChunk *chunk, RowSink sink)
{
	const PlanTable *table = &plan->tables[chunk->table];
	Relation rel = plan_open_table(plan, table);
	AttrNumber *columns = find_columns(rel, plan, table);
	RowText *row = row_text_create(RelationGetDescr(rel), columns, table->n_columns);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;

	check_rights(rel, columns, table->n_columns);
	check_row_security(rel);
	scan = begin_scan(rel, table, chunk);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		const StringInfoData *line;

		CHECK_FOR_INTERRUPTS();
		line = row_text_format(row, slot);
		sink(line->data, line->len);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
}

/*
 * An extension says by a condition which rows of a table it does not bring
 * itself. These tables take a SELECT; who wrote the condition made the extension.
 */
void
table_rows_select(const SnapshotPlan *plan, const PlanTable *table, RowSink sink)
{
	const char *column = plan_string(plan, table->columns);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (uint32 i = 0; i < table->n_columns; i++, column += strlen(column) + 1)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(column));
	appendStringInfo(&sql, " FROM ONLY %s %s", plan_string(plan, table->qualified_name),
					 plan_string(plan, table->condition));
	row_source_read(sql.data, sink);
}
