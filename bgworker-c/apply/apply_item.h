/*
 * apply_item.h
 *	  One item of an apply in one transaction, with the mark that it is done.
 */
#ifndef STEEP_APPLY_ITEM_H
#define STEEP_APPLY_ITEM_H

#include "apply/apply_plan.h"

#include "access/xlogdefs.h"
#include "base/compat.h"
#include "toc/toc.h"

/* What this worker works with. */
typedef struct Applier
{
	SteepJob *job;
	ApplyPlan *plan;
	const Toc *toc;
	bool skips_triggers;   /* and foreign keys, of what is loaded */
	bool standard_strings; /* how literals of the archive are written */
	ReplOriginId origin;
	const char *statement; /* of the item at hand, in the memory of its caller */
} Applier;

extern Applier applier;

extern const TocEntry *apply_item_entry(const ApplyItem *item);
extern void apply_item_init(SteepJob *job, ApplyPlan *plan, const Toc *toc, int dirfd);
extern const char *apply_item_name(const ApplyItem *item);
extern void apply_item_run(const ApplyItem *item);
extern void apply_item_skip(const ApplyItem *item);

/* apply_advice.c: what to do about its error */
extern bool apply_item_is_optional(const ApplyItem *item, const ErrorData *error);
extern void apply_item_advise(const ApplyItem *item, ErrorData *error);

#endif /* STEEP_APPLY_ITEM_H */
