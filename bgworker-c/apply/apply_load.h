/*
 * apply_load.h
 *	  Loads frames of a table's data into the table.
 */
#ifndef STEEP_APPLY_LOAD_H
#define STEEP_APPLY_LOAD_H

#include "apply/apply_plan.h"
#include "toc/toc.h"

extern void apply_load_init(SteepJob *job, ApplyPlan *plan, int dirfd);
extern void apply_load_item(const ApplyItem *item, const TocEntry *entry);

/* apply_object_data.c */
extern void apply_load_objects(SteepJob *job, ApplyPlan *plan, int dirfd, const ApplyItem *item);

extern bool apply_load_may_move(const ApplyItem *item, const char *table, const ErrorData *error);

#endif /* STEEP_APPLY_LOAD_H */
