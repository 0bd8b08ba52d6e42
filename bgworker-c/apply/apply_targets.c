/*
 * apply_targets.c
 *	  What is in the way of an apply: asked before it changes anything.
 *
 * The planner's queries say what is missing, all of it in one message. Only
 * whether a table is empty is looked up here: INSERT alone is enough to load
 * it, and does not let a role read it.
 */
#include "apply/apply.h"
#include "apply/apply_partitions.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "jobs/planned_sql.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Names as text[], for the planner's queries. */
static Datum
text_array(char **names, int n)
{
	Datum *values = palloc_array(Datum, n + 1);

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(names[i]);
	return PointerGetDatum(construct_array_builtin(values, n, TEXTOID));
}

/* The tables to load, in the order of apply->targets; or those only that are loaded through a root. */
static Datum
target_names(ApplyRun *apply, bool via_root)
{
	char **names = palloc_array(char *, apply->n_targets + 1);
	int n = 0;

	for (int i = 0; i < apply->n_targets; i++)
		if (!via_root || toc_loads_via_root(apply->toc->entries.items[apply->targets[i].entry]))
			names[n++] = apply->targets[i].name;
	return text_array(names, n);
}

/* Objects of a stage that are not done; of relations only, by kind of entry. */
static Datum
entry_names(ApplyRun *apply, ApplyStage stage)
{
	char **names = palloc_array(char *, apply->toc->entries.count + 1);
	int n = 0;

	for (int i = 0; i < apply->toc->entries.count; i++)
	{
		const TocEntry *entry = apply->toc->entries.items[i];

		if (apply->stages[i] == stage && entry->schema != NULL &&
			(stage != STAGE_PRE_DATA || entry->relkind != '\0') &&
			!apply_marks_have(apply->done, entry->dump_id, MARK_WHOLE))
			names[n++] = quote_qualified_identifier(entry->schema, entry->tag);
	}
	return text_array(names, n);
}

static Datum
new_objects(ApplyRun *apply)
{
	int n;
	char **names = apply_new_objects(apply, &n);

	return text_array(names, n);
}

/*
 * Run one of the planner's queries, as the requester: $1 the parameters, $2
 * the tables to load, $3 the sequences to set, $4 the relations to create, $5
 * of $2 those that are loaded through a partition root, $6 the large objects to
 * create.
 */
static uint64
run_query(JobRun *run, Jsonb *action, const char *name, const AnswerColumn *columns, int n_columns)
{
	Oid types[] = {JSONBOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum values[] = {DirectFunctionCall1(jsonb_in, CStringGetDatum(run->params)),
					  target_names(run->apply, false),
					  entry_names(run->apply, STAGE_SEQUENCES),
					  entry_names(run->apply, STAGE_PRE_DATA),
					  target_names(run->apply, true),
					  new_objects(run->apply)};
	PlannedQuery query = {.name = name,
						  .sql = action_text(action, name),
						  .n_args = lengthof(values),
						  .types = types,
						  .values = values,
						  .columns = columns,
						  .n_columns = n_columns};

	return planned_select(&query);
}

/* One row with one JSON object: facts for the planner's next decision. */
static void
gather_facts(JobRun *run, Jsonb *action)
{
	static const AnswerColumn columns[] = {{JSONOID}};
	char *json;

	if (run_query(run, action, "facts", columns, lengthof(columns)) != 1)
		wrong_answer("query \"facts\" does not find one row");
	json = planned_text(0, 1);
	if (json[0] != '{')
		wrong_answer("query \"facts\" finds no object");
	appendBinaryStringInfo(&run->facts, json + 1, (int) strlen(json) - 2);
}

/* Rows (position in $2, level): which tables must wait for which, by foreign keys. */
static void
read_levels(JobRun *run, Jsonb *action)
{
	static const AnswerColumn columns[] = {{INT8OID}, {INT8OID}};
	ApplyRun *apply = run->apply;
	uint64 n = run_query(run, action, "levels", columns, lengthof(columns));

	for (uint64 i = 0; i < n; i++)
	{
		int64 position = planned_int64(i, 1);
		int64 level = planned_int64(i, 2);

		if (position < 1 || position > apply->n_targets || level < 1 ||
			level > apply->n_targets + 1)
			wrong_answer("query \"levels\" finds what is no table, or no level");
		apply->targets[position - 1].level = (uint32) level;
	}
}

static bool
is_empty(Relation rel)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = begin_table_scan(rel, GetActiveSnapshot());
	bool found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return !found;
}

/* A target as it is now, or NULL if there is no such table; the caller closes it. */
static Relation
open_target(ApplyRun *apply, const TargetTable *target)
{
	const TocEntry *entry = apply->toc->entries.items[target->entry];
	Oid relid = RangeVarGetRelid(makeRangeVar(entry->schema, entry->tag, -1), NoLock, true);
	Relation rel = OidIsValid(relid) ? try_table_open(relid, AccessShareLock) : NULL;

	CHECK_FOR_INTERRUPTS();
	if (rel == NULL || rel->rd_rel->relkind == RELKIND_RELATION)
		return rel;
	table_close(rel, AccessShareLock);
	return NULL;
}

/*
 * A crash empties unlogged tables, but not what we have marked: load those
 * again. One that is not empty was loaded since the last crash, and is as
 * marked.
 */
static void
forget_lost_loads(JobRun *run)
{
	ApplyRun *apply = run->apply;

	for (int i = 0; i < apply->n_targets; i++)
	{
		TargetTable *target = &apply->targets[i];
		Relation rel = target->begun ? open_target(apply, target) : NULL;

		if (rel == NULL)
			continue;
		if (toc_loads_via_root(apply->toc->entries.items[target->entry]))
			partition_refuse_lost_rows(target->name, RelationGetRelid(rel));
		if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && is_empty(rel))
		{
			apply_marks_remove(apply->done, run->job->id,
							   apply->toc->entries.items[target->entry]->dump_id);
			target->begun = false;
		}
		table_close(rel, AccessShareLock);
	}
}

/* Refuse tables that have rows which this job did not load. */
static void
refuse_filled_tables(ApplyRun *apply)
{
	StringInfoData filled;
	int n = 0;

	initStringInfo(&filled);
	for (int i = 0; i < apply->n_targets; i++)
	{
		const TargetTable *target = &apply->targets[i];
		Relation rel = target->begun || target->in_extension ? NULL : open_target(apply, target);

		if (rel == NULL)
			continue;
		if (!is_empty(rel) && ++n <= 100)
			appendStringInfo(&filled, "%s%s", n > 1 ? ", " : "", target->name);
		table_close(rel, AccessShareLock);
	}
	if (n > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg_plural("%d table to be loaded is not empty",
									  "%d tables to be loaded are not empty", n, n),
						errdetail_internal("%s%s", filled.data, n > 100 ? ", ..." : ""),
						errhint("Empty them, or pass truncate => true.")));
}

/* Ask the planner's queries, and look whether tables are empty. */
void
apply_check_targets(JobRun *run, Jsonb *action)
{
	ApplyRun *apply = run->apply;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	gather_facts(run, action);
	if (apply->selection.data && !apply->selection.pre_data)
		read_levels(run, action);
	SPI_finish();
	forget_lost_loads(run);
	if (apply->selection.data && !apply->selection.pre_data && !apply->truncate)
		refuse_filled_tables(apply);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
}

/* Run one check of a constraint, by the planner's query for it. */
static void
check_constraint(const char *name, const char *kind, const char *sql)
{
	bool is_foreign_key = strcmp(kind, "f") == 0;

	if (planned_finds_row("checks", sql))
		ereport(
			ERROR,
			(errcode(is_foreign_key           ? ERRCODE_FOREIGN_KEY_VIOLATION
					 : strcmp(kind, "x") == 0 ? ERRCODE_EXCLUSION_VIOLATION
											  : ERRCODE_UNIQUE_VIOLATION),
			 errmsg("loaded rows violate %s", name), errdetail("Query: %s", sql),
			 is_foreign_key
				 ? errhint(
					   "Load the table that it refers to as well, or remove the rows, then go on with steep_repl.retry_operation(id).")
				 : errhint(
					   "Remove or change rows, then go on with steep_repl.retry_operation(id).")));
}

/*
 * Where existing tables were loaded without triggers, check what these would
 * have: foreign keys, and deferrable constraints. As the requester; a table that
 * he may not read is passed over.
 */
void
apply_check_constraints(JobRun *run, Jsonb *action)
{
	static const AnswerColumn columns[] = {{TEXTOID}, {TEXTOID}, {TEXTOID, true}};
	SPITupleTable *checks;
	uint64 n;

	StartTransactionCommand();
	if (!run->apply->selection.data || run->apply->selection.pre_data ||
		!worker_may_skip_triggers())
	{
		CommitTransactionCommand();
		return;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	n = run_query(run, action, "checks", columns, lengthof(columns));
	checks = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		char *name = SPI_getvalue(checks->vals[i], checks->tupdesc, 1);
		char *kind = SPI_getvalue(checks->vals[i], checks->tupdesc, 2);
		char *sql = SPI_getvalue(checks->vals[i], checks->tupdesc, 3);

		if (sql != NULL)
			check_constraint(name, kind, sql);
		else
			ereport(WARNING, (errmsg("steep_repl: %s was not checked", name),
							  errhint("That needs SELECT on its tables.")));
	}
	SPI_finish();
	PopActiveSnapshot();
	/* Nothing was written; operators of others may have set things, which ends with this. */
	AbortCurrentTransaction();
	MemoryContextSwitchTo(run->context);
}
