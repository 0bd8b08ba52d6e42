/*
 * toc_select.h
 *	  Which entries of an archive are applied, and when.
 */
#ifndef STEEP_TOC_SELECT_H
#define STEEP_TOC_SELECT_H

#include "nodes/pg_list.h"
#include "toc/toc.h"

/* In the order in which they run. */
typedef enum ApplyStage
{
	STAGE_SKIP = 0,
	STAGE_PRE_DATA,
	STAGE_LARGE_OBJECTS, /* are made, with their comments */
	STAGE_OBJECT_DATA,
	STAGE_DATA,
	STAGE_SEQUENCES,
	STAGE_POST_DATA,
	STAGE_RIGHTS,
	STAGE_LAST /* what would see, or be stopped by, the stages before */
} ApplyStage;

typedef struct TocSelection
{
	bool pre_data;
	bool data;
	bool post_data;
	bool no_privileges;
	List *tables; /* RangeVars with a schema; NIL: everything */
} TocSelection;

/* toc_select.c */
extern ApplyStage *toc_select(const Toc *toc, const TocSelection *selection, List **missing);
extern bool toc_entry_locks_exclusively(const TocEntry *entry);

/* toc_choose.c */
extern bool *toc_choose(const Toc *toc, HTAB *positions, const List *tables, List **missing);

/* shared by the two */
extern int toc_position(HTAB *positions, int dump_id);

#endif /* STEEP_TOC_SELECT_H */
