/*
 * apply_partitions.c
 *	  Loading a partition's rows through its root, which finds each row's place.
 *
 * A partition's rows of one server may belong into other partitions of another:
 * by oids, by a collation or an encoding, or because its bounds are others.
 */
#include "apply/apply_partitions.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class_d.h"
#include "catalog/pg_inherits.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* The root of the tree that a table is a partition of; invalid if it is none. */
static Oid
partition_root(Oid relid)
{
	return get_rel_relispartition(relid) ? llast_oid(get_partition_ancestors(relid)) : InvalidOid;
}

/* Whether a crash would empty some partitions of a tree. */
bool
partition_tree_is_unlogged(Oid root)
{
	ListCell *lc;

	foreach (lc, find_all_inheritors(root, NoLock, NULL))
		if (get_rel_persistence(lfirst_oid(lc)) == RELPERSISTENCE_UNLOGGED)
			return true;
	return false;
}

/* Rows that went through a root may lie in any partition; a crash has emptied the unlogged ones. */
void
partition_refuse_lost_rows(const char *table, Oid relid)
{
	Oid root = partition_root(relid);

	if (OidIsValid(root) && partition_tree_is_unlogged(root))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("it cannot be told which rows of table %s were loaded before", table),
			 errdetail("They went through its partition root, and some partitions are unlogged."),
			 errhint("Empty the partitioned table, and start a new apply.")));
}

/*
 * The table to load an entry's rows into, locked. Where the archive says that
 * they go through the root, a table that is no partition here takes them itself.
 */
Relation
partition_open_target(RangeVar *table, bool via_root)
{
	Relation rel = table_openrv(table, RowExclusiveLock);
	Oid root = via_root ? partition_root(RelationGetRelid(rel)) : InvalidOid;

	if (!OidIsValid(root))
		return rel;
	table_close(rel, NoLock);
	return table_open(root, RowExclusiveLock);
}

/*
 * Whether an error says that a row belongs into another partition than the one
 * it was loaded into. A check constraint, in distinction from that, has a name.
 */
bool
partition_is_violated(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_CHECK_VIOLATION && error->constraint_name == NULL &&
		   error->table_name != NULL;
}
