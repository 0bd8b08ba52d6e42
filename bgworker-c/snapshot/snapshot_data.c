/*
 * snapshot_data.c
 *	  From pg_dump's table of contents to one that says where the data is.
 */
#include "snapshot/snapshot_plan.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A table that pg_dump lists and we do not would come back empty. */
static void
check_for_unplanned_tables(SnapshotRun *snapshot)
{
	TocEntry *entry;
	int position = 0;
	uint32 n = 0;

	while ((entry = toc_next_table(snapshot->toc, &position)) != NULL)
	{
		uint32 low = 0;
		uint32 high = snapshot->n_tables;

		if (entry->relkind != RELKIND_RELATION)
			continue;
		n++;
		while (low < high)
		{
			uint32 middle = low + (high - low) / 2;

			if (snapshot->tables[middle].relid < entry->catalog_oid)
				low = middle + 1;
			else
				high = middle;
		}
		if (low == snapshot->n_tables || snapshot->tables[low].relid != entry->catalog_oid)
			wrong_answer("table %s, which pg_dump lists, is not in the plan",
						 quote_qualified_identifier(entry->schema, entry->tag));
	}
	elog(DEBUG1, "%u tables in pg_dump's table of contents, %u in the plan", n, snapshot->n_tables);
}

/* Whether the requester may read a sequence, by itself or through the table that owns it. */
static bool
may_read_sequence(Oid sequence)
{
	Oid table;
	int32 column;
	bool is_missing = false;

	if (pg_class_aclcheck_ext(sequence, GetUserId(), ACL_SELECT | ACL_USAGE, &is_missing) ==
		ACLCHECK_OK)
		return true;
	if (is_missing)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a sequence was dropped while the snapshot began"), errhint("Retry.")));
	return (sequenceIsOwned(sequence, DEPENDENCY_AUTO, &table, &column) ||
			sequenceIsOwned(sequence, DEPENDENCY_INTERNAL, &table, &column)) &&
		   pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* The sequence that an entry sets. One that an extension makes has no entry of its own, and only a name. */
static Oid
sequence_of(const TocEntry *entry, const Oid *sequences)
{
	Oid schema;

	if (entry->ndependencies > 0 && OidIsValid(sequences[entry->dependencies[0]]))
		return sequences[entry->dependencies[0]];
	schema = get_namespace_oid(entry->schema, true);
	return OidIsValid(schema) ? get_relname_relid(entry->tag, schema) : InvalidOid;
}

/*
 * pg_dump reads the values of sequences with rights of its own. Those of the
 * requester are checked here, and not only by the planner's friendly message.
 */
static void
check_sequence_rights(const Toc *toc)
{
	Oid *sequences = palloc0_array(Oid, toc->max_dump_id + 1);

	for (int i = 0; i < toc->entries.count; i++)
	{
		const TocEntry *entry = toc->entries.items[i];

		if (strcmp(entry->desc, "SEQUENCE") == 0)
			sequences[entry->dump_id] = entry->catalog_oid;
	}
	for (int i = 0; i < toc->entries.count; i++)
	{
		const TocEntry *entry = toc->entries.items[i];

		if (strcmp(entry->desc, "SEQUENCE SET") != 0)
			continue;
		if (!may_read_sequence(sequence_of(entry, sequences)))
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("permission denied for sequence %s",
								   quote_qualified_identifier(entry->schema, entry->tag))));
	}
	pfree(sequences);
}

/* pg_dump leaves publications all of their tables, also those that are not in the archive. */
static void
remove_memberships(SnapshotRun *snapshot)
{
	TocEntries *entries = &snapshot->toc->entries;
	int kept = 0;

	for (int i = 0; i < entries->count; i++)
	{
		TocEntry *entry = entries->items[i];

		if (strcmp(entry->desc, "PUBLICATION TABLE") != 0 ||
			bsearch(&entry->catalog_oid, snapshot->memberships, snapshot->n_memberships,
					sizeof(Oid), oid_cmp) == NULL)
			entries->items[kept++] = entry;
	}
	entries->count = kept;
}

/* Give each planned table a data entry, and each materialized view a refresh. */
void
snapshot_run_add_data(JobRun *run)
{
	SnapshotRun *snapshot = run->snapshot;

	remove_memberships(snapshot);
	toc_remove_secrets(snapshot->toc);
	check_sequence_rights(snapshot->toc);
	check_for_unplanned_tables(snapshot);
	for (uint32 i = 0; i < snapshot->n_tables; i++)
	{
		SourceTable *table = &snapshot->tables[i];
		TocTableData spec = {.relid = table->relid,
							 .schema = table->schema,
							 .table = table->name,
							 .owner = table->owner,
							 .columns = table->columns,
							 .ncolumns = table->ncolumns,
							 .extension_member = table->extension_member,
							 .root_schema = table->root_schema,
							 .root_table = table->root_name};

		if (!table->extension_member && toc_find_table(snapshot->toc, table->relid) == NULL)
			wrong_answer("table %s, which is in the plan, is not in what pg_dump lists",
						 quote_qualified_identifier(table->schema, table->name));
		table->dump_id = toc_add_table_data(snapshot->toc, &spec)->dump_id;
	}
	snapshot_add_objects(snapshot);
	for (uint32 i = 0; i < snapshot->n_matviews; i++)
	{
		Oid relid = snapshot->matviews[i];

		if (toc_find_relation(snapshot->toc, relid, "MATERIALIZED VIEW") == NULL)
			wrong_answer(
				"a materialized view with OID %u, which is in the plan, is not in what pg_dump lists",
				relid);
		toc_add_matview_refresh(snapshot->toc, relid);
	}
}
