/*
 * plan.c
 *	  Builds the plan in dynamic shared memory and hands out its chunks.
 */
#include "snapshot/plan.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_largeobject_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * 64 MB of heap. Small enough that workers finish within seconds of each
 * other, large enough that starting a transaction for it costs nothing.
 */
#define CHUNK_BLOCKS (64 * 1024 * 1024 / BLCKSZ)

/* Append a string with its NUL; returns the offset within the segment. */
static uint32
add_string(StringInfo strings, Size base, const char *string)
{
	uint32 offset = base + strings->len;

	if (string == NULL)
		return 0;
	appendBinaryStringInfo(strings, string, strlen(string) + 1);
	return offset;
}

/* Append oids, where they can be read as such; returns their offset. */
static uint32
add_objects(StringInfo strings, Size base, const Oid *objects, uint32 n)
{
	uint32 offset;

	while ((base + strings->len) % sizeof(Oid) != 0)
		appendStringInfoChar(strings, '\0');
	offset = base + strings->len;
	appendBinaryStringInfo(strings, objects, n * sizeof(Oid));
	return offset;
}

static void
fill_table(PlanTable *target, const SourceTable *source, StringInfo strings, Size base)
{
	memset(target, 0, sizeof(PlanTable));
	target->relid = source->relid;
	target->dump_id = source->dump_id;
	target->chunks = 1;
	target->schema = add_string(strings, base, source->schema);
	target->name = add_string(strings, base, source->name);
	target->qualified_name = add_string(
		strings, base,
		source->n_objects > 0 ? source->name
							  : quote_qualified_identifier(source->schema, source->name));
	target->objects = add_objects(strings, base, source->objects, source->n_objects);
	target->n_objects = source->n_objects;
	target->columns = base + strings->len;
	target->n_columns = source->ncolumns;
	for (int i = 0; i < source->ncolumns; i++)
		(void) add_string(strings, base, source->columns[i]);
	target->condition = add_string(strings, base, source->condition);
	pg_atomic_init_u32(&target->next_chunk, 0);
	pg_atomic_init_u32(&target->chunks_done, 0);
	pg_atomic_init_u64(&target->file_end, 0);
	pg_atomic_init_u32(&target->file_state, PLAN_FILE_ABSENT);
}

/* Make a plan over these tables; it lives until plan_detach. */
SnapshotPlan *
plan_create(const SourceTable *tables, uint32 n, Codec codec, int level, dsm_handle *handle)
{
	Size base = offsetof(SnapshotPlan, tables) + n * sizeof(PlanTable);
	PlanTable *entries = palloc_extended(Max(n, 1) * sizeof(PlanTable), MCXT_ALLOC_HUGE);
	StringInfoData strings;
	dsm_segment *segment;
	SnapshotPlan *plan;

	initStringInfo(&strings);
	for (uint32 i = 0; i < n; i++)
		fill_table(&entries[i], &tables[i], &strings, base);

	segment = dsm_create(base + strings.len, 0);
	dsm_pin_mapping(segment);
	*handle = dsm_segment_handle(segment);
	plan = dsm_segment_address(segment);
	plan->codec = codec;
	plan->level = level;
	plan->n_tables = n;
	plan->n_batches = 0;
	plan->all_objects = 0;
	for (uint32 i = 0; i < n; i++)
	{
		plan->n_batches += tables[i].n_objects > 0;
		plan->all_objects += tables[i].n_objects;
	}
	pg_atomic_init_u32(&plan->cursor, 0);
	memcpy(plan->tables, entries, n * sizeof(PlanTable));
	memcpy((char *) plan + base, strings.data, strings.len);
	pfree(entries);
	pfree(strings.data);
	return plan;
}

const char *
plan_string(const SnapshotPlan *plan, uint32 offset)
{
	return offset == 0 ? NULL : (const char *) plan + offset;
}

/* The large objects of a batch. */
const Oid *
plan_batch(const SnapshotPlan *plan, const PlanTable *table)
{
	return (const Oid *) ((const char *) plan + table->objects);
}

/* The name of a table's data file, or of a large object's. */
void
plan_file_name(const SnapshotPlan *plan, const PlanTable *table, Oid object, char *name)
{
	if (OidIsValid(object))
		snprintf(name, PLAN_FILE_NAME_LEN, "blob_%u.dat%s", object, codec_suffix(plan->codec));
	else
		snprintf(name, PLAN_FILE_NAME_LEN, "%d.dat%s", table->dump_id, codec_suffix(plan->codec));
}

static int
by_size_descending(const void *a, const void *b)
{
	const PlanTable *x = a;
	const PlanTable *y = b;

	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return x->dump_id < y->dump_id ? -1 : 1;
}

/*
 * Open a table, which the holder has locked. What the planner lists is only
 * advice: anything but a table may have no blocks, or run code when it is read.
 */
Relation
plan_open_table(const SnapshotPlan *plan, const PlanTable *table)
{
	const char *name = plan_string(plan, table->qualified_name);
	Relation rel = try_table_open(table->relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table %s does not exist", name),
						errhint("Take a new snapshot.")));
	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot copy %s", name),
						errdetail("It is not a table, or a temporary one."),
						errhint("Take a new snapshot.")));
	return rel;
}

/* Size one table and divide it into chunks. */
static void
measure_table(const SnapshotPlan *plan, PlanTable *table)
{
	Relation rel = plan_open_table(plan, table);

	table->bytes = table_relation_size(rel, MAIN_FORKNUM);
	table->blocks = table->bytes / BLCKSZ;
	if (OidIsValid(rel->rd_rel->reltoastrelid))
	{
		Relation toast = table_open(rel->rd_rel->reltoastrelid, AccessShareLock);

		table->bytes += table_relation_size(toast, MAIN_FORKNUM);
		table_close(toast, AccessShareLock);
	}
	/* Block ranges mean something in heap tables only. */
	if (rel->rd_rel->relam == HEAP_TABLE_AM_OID && table->condition == 0 &&
		table->blocks > CHUNK_BLOCKS)
	{
		table->chunk_blocks = CHUNK_BLOCKS;
		table->chunks = (table->blocks + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS;
	}
	table_close(rel, AccessShareLock);
}

/* Large objects have no sizes that could be had cheaply: each gets its share of all that there are. */
static void
measure_batch(const SnapshotPlan *plan, PlanTable *table)
{
	Relation rel = table_open(LargeObjectRelationId, AccessShareLock);

	table->bytes = (double) table_relation_size(rel, MAIN_FORKNUM) * table->n_objects /
				   Max(plan->all_objects, 1);
	table_close(rel, AccessShareLock);
}

/*
 * Size all tables, large ones first. In a transaction; before copiers start.
 * The caller is in the holder's lock group, so that nobody who waits for a
 * table can hold it up.
 */
void
plan_measure(SnapshotPlan *plan, JobCounters *counters)
{
	uint64 total = 0;

	for (uint32 i = 0; i < plan->n_tables; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (plan->tables[i].n_objects > 0)
			measure_batch(plan, &plan->tables[i]);
		else
			measure_table(plan, &plan->tables[i]);
		total += plan->tables[i].bytes;
	}
	qsort(plan->tables, plan->n_tables, sizeof(PlanTable), by_size_descending);
	pg_atomic_write_u64(&counters->bytes_total, total);
	pg_atomic_write_u32(&counters->tables_total, plan->n_tables - plan->n_batches);
}

/* Take the next chunk; false when none is left. */
bool
plan_next_chunk(SnapshotPlan *plan, PlanChunk *chunk)
{
	for (;;)
	{
		uint32 i = pg_atomic_read_u32(&plan->cursor);
		PlanTable *table;
		uint32 number;

		if (i >= plan->n_tables)
			return false;
		table = &plan->tables[i];
		number = pg_atomic_fetch_add_u32(&table->next_chunk, 1);
		if (number >= table->chunks)
		{
			/* Whoever is first moves on; the others see it. */
			(void) pg_atomic_compare_exchange_u32(&plan->cursor, &i, i + 1);
			continue;
		}
		chunk->table = i;
		chunk->number = number;
		chunk->first_block = number * table->chunk_blocks;
		chunk->end_block =
			number + 1 == table->chunks ? InvalidBlockNumber : (number + 1) * table->chunk_blocks;
		chunk->bytes = table->bytes / table->chunks;
		if (number + 1 == table->chunks)
			chunk->bytes = table->bytes - chunk->bytes * number;
		return true;
	}
}

/* Note a chunk as written; true for the table's last one. */
bool
plan_chunk_done(SnapshotPlan *plan, const PlanChunk *chunk)
{
	PlanTable *table = &plan->tables[chunk->table];

	return pg_atomic_add_fetch_u32(&table->chunks_done, 1) == table->chunks;
}
