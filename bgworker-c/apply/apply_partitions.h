/*
 * apply_partitions.h
 *	  Loading a partition's rows through its root.
 */
#ifndef STEEP_APPLY_PARTITIONS_H
#define STEEP_APPLY_PARTITIONS_H

#include "postgres.h"

#include "nodes/primnodes.h"
#include "utils/relcache.h"

extern void partition_refuse_lost_rows(const char *table, Oid relid);
extern bool partition_tree_is_unlogged(Oid root);
extern Relation partition_open_target(RangeVar *table, bool via_root);
extern bool partition_is_violated(const ErrorData *error);

#endif /* STEEP_APPLY_PARTITIONS_H */
