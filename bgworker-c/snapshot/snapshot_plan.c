/*
 * snapshot_plan.c
 *	  From the planner's queries to the list of tables.
 *
 * The queries run as the requester. What they list is only what to try: the
 * rights to read it are checked when it is read.
 */
#include "snapshot/snapshot_plan.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "snapshot/pg_dump.h"
#include "jobs/planned_sql.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "jobs/worker.h"

/* Begin an attempt: forget what an earlier snapshot listed. */
void
snapshot_run_reset(JobRun *run)
{
	MemoryContext context;

	if (run->snapshot != NULL)
	{
		if (run->snapshot->plan != NULL)
			plan_detach(run->job->plan);
		MemoryContextDelete(run->snapshot->context);
	}
	context = AllocSetContextCreate(run->context, "steep_repl snapshot", ALLOCSET_DEFAULT_SIZES);
	run->snapshot = MemoryContextAllocZero(context, sizeof(SnapshotRun));
	run->snapshot->context = context;
}

/* Columns of the planner's queries. */
static const AnswerColumn table_columns[] = {
	{OIDOID},             /* of the table */
	{TEXTOID},            /* schema */
	{TEXTOID},            /* name */
	{TEXTOID},            /* owner */
	{TEXTARRAYOID, true}, /* columns */
	{TEXTOID},            /* fingerprint */
	{TEXTOID, true},      /* condition */
	{BOOLOID},            /* is it an extension's */
	{TEXTOID, true},      /* of the root to load it through: schema */
	{TEXTOID, true},      /* and name */
};
static const AnswerColumn oid_columns[] = {{OIDOID}};
static const AnswerColumn object_columns[] = {{TEXTOID}, {TEXTOID}, {TEXTOID}, {TEXTOID}};
static const AnswerColumn filter_columns[] = {
	{TEXTOID, true}, {TEXTOID, true}, {TEXTOID}, {BOOLOID}};
static const AnswerColumn fingerprint_columns[] = {{OIDOID}, {TEXTOID}};

/* Run one of the planner's queries; returns the number of rows. */
static uint64
run_query(JobRun *run, Jsonb *action, const char *name, const AnswerColumn *columns, int n_columns)
{
	Datum params = DirectFunctionCall1(jsonb_in, CStringGetDatum(run->params));
	PlannedQuery query = {.name = name,
						  .sql = action_text(action, name),
						  .n_args = 1,
						  .types = (Oid[]){JSONBOID},
						  .values = &params,
						  .columns = columns,
						  .n_columns = n_columns};

	return planned_select(&query);
}

static void
read_columns(SourceTable *table, uint64 row, int column)
{
	bool isnull;
	Datum array = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);
	Datum *items;
	int n = 0;

	if (!isnull)
		deconstruct_array_builtin(DatumGetArrayTypeP(array), TEXTOID, &items, NULL, &n);
	table->columns = palloc_array(const char *, n + 1);
	table->ncolumns = n;
	for (int i = 0; i < n; i++)
		table->columns[i] = TextDatumGetCString(items[i]);
}

static void
read_tables(SnapshotRun *snapshot, uint64 n)
{
	snapshot->tables =
		palloc_extended((n + 1) * sizeof(SourceTable), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	snapshot->n_tables = n;
	for (uint64 i = 0; i < n; i++)
	{
		SourceTable *table = &snapshot->tables[i];

		CHECK_FOR_INTERRUPTS();
		table->relid = planned_oid(i, 1);
		table->schema = planned_text(i, 2);
		table->name = planned_text(i, 3);
		table->owner = planned_text(i, 4);
		read_columns(table, i, 5);
		table->fingerprint = planned_text(i, 6);
		table->condition = planned_text(i, 7);
		table->extension_member = strcmp(planned_text(i, 8), "t") == 0;
		table->root_schema = planned_text(i, 9);
		table->root_name = planned_text(i, 10);
		if ((table->root_schema == NULL) != (table->root_name == NULL))
			wrong_answer("the root of table %s has half a name", table->name);
	}
}

static void
read_options(JobRun *run, Jsonb *action)
{
	SnapshotRun *snapshot = run->snapshot;
	int min;
	int max;
	int dflt;

	if (!codec_from_name(action_text(action, "compression"), &snapshot->codec))
		wrong_answer("there is no such compression");
	codec_level_range(snapshot->codec, &min, &max, &dflt);
	snapshot->level = action_int(action, "level", dflt);
	if (snapshot->level != dflt && (snapshot->level < min || snapshot->level > max))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("compression level must be between %d and %d", min, max)));
	snapshot->node_id = action_text(action, "node_id");
}

/* What pg_dump is to be limited to. */
static void
read_filter(JobRun *run, Jsonb *action)
{
	SnapshotRun *snapshot = run->snapshot;
	uint64 n = run_query(run, action, "filter", filter_columns, lengthof(filter_columns));
	MemoryContextSwitchTo(snapshot->context);
	for (uint64 i = 0; i < n; i++)
	{
		char *schema = planned_text(i, 1);
		char *name = planned_text(i, 2);
		PgDumpTable *table = palloc0_object(PgDumpTable);

		if (schema == NULL)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
							errmsg("table %s no longer exists", planned_text(i, 3))));
		table->schema = schema;
		table->table = name;
		table->excluded = strcmp(planned_text(i, 4), "t") == 0;
		if (name == NULL)
			snapshot->filter_schemas = lappend(snapshot->filter_schemas, schema);
		else
			snapshot->filter_tables = lappend(snapshot->filter_tables, table);
	}
}

static Oid *
read_oids(JobRun *run, Jsonb *action, const char *query, uint32 *n)
{
	Oid *oids;

	*n = (uint32) run_query(run, action, query, oid_columns, lengthof(oid_columns));
	MemoryContextSwitchTo(run->snapshot->context);
	oids = palloc_array(Oid, *n + 1);
	for (uint32 i = 0; i < *n; i++)
		oids[i] = planned_oid(i, 1);
	return oids;
}

/* List tables, materialized views and what pg_dump is to be limited to. */
void
snapshot_run_list(JobRun *run, Jsonb *action)
{
	SnapshotRun *snapshot = run->snapshot;
	uint64 n;

	worker_begin_with_snapshot(run->job->snapshot_name);
	SPI_connect();

	n = run_query(run, action, "tables", table_columns, lengthof(table_columns));
	MemoryContextSwitchTo(snapshot->context);
	read_options(run, action);
	read_tables(snapshot, n);

	snapshot->matviews = read_oids(run, action, "matviews", &snapshot->n_matviews);
	snapshot->memberships = read_oids(run, action, "memberships", &snapshot->n_memberships);

	n = run_query(run, action, "large_objects", object_columns, lengthof(object_columns));
	MemoryContextSwitchTo(snapshot->context);
	snapshot_read_objects(snapshot, n);

	read_filter(run, action);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
}

/*
 * The name of a table that is no longer what the snapshot saw, or NULL. Asked
 * once all are locked, in a transaction that sees the present.
 */
const char *
snapshot_run_find_change(JobRun *run, Jsonb *action)
{
	SnapshotRun *snapshot = run->snapshot;
	const char *changed = NULL;
	uint64 row = 0;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	/* All tables of the database, by oid: one pass, whatever their number. */
	(void) run_query(run, action, "fingerprints", fingerprint_columns,
					 lengthof(fingerprint_columns));
	for (uint32 i = 0; i < snapshot->n_tables && changed == NULL; i++)
	{
		const SourceTable *table = &snapshot->tables[i];

		while (row < SPI_processed && planned_oid(row, 1) < table->relid)
			row++;
		if (row == SPI_processed || planned_oid(row, 1) != table->relid ||
			strcmp(planned_text(row, 2), table->fingerprint) != 0)
		{
			MemoryContext old = MemoryContextSwitchTo(run->context);

			changed = quote_qualified_identifier(table->schema, table->name);
			changed = pstrdup(changed);
			MemoryContextSwitchTo(old);
		}
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(run->context);
	return changed;
}
