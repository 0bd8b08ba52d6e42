/*
 * toc_choose.h
 *	  Shared by toc_choose.c and toc_belongs.c.
 */
#ifndef STEEP_TOC_CHOOSE_H
#define STEEP_TOC_CHOOSE_H

#include "toc/toc_select.h"

typedef struct Chooser
{
	const Toc *toc;
	HTAB *positions;
	int *by_name; /* positions of what can be named, sorted by name */
	int n_by_name;
	List **children; /* by position: positions of partitions and inheritors */
	bool *chosen;    /* by position */
} Chooser;

static inline bool
is_kind(const TocEntry *entry, const char *desc)
{
	return strcmp(entry->desc, desc) == 0;
}

/* Tables have children, and sequences. */
static inline bool
is_table(const TocEntry *entry)
{
	return is_kind(entry, "TABLE") || is_kind(entry, "FOREIGN TABLE");
}

static inline bool
is_relation(const TocEntry *entry)
{
	return is_table(entry) || is_kind(entry, "VIEW") || is_kind(entry, "MATERIALIZED VIEW") ||
		   is_kind(entry, "SEQUENCE");
}

static inline const char *
schema_of(const TocEntry *entry)
{
	return entry->schema != NULL ? entry->schema : "";
}

/* toc_choose.c */
extern const TocEntry *get_relation(const Chooser *chooser, int dump_id, int *position);

/* toc_belongs.c */
extern void choose_belongings(Chooser *chooser);

#endif /* STEEP_TOC_CHOOSE_H */
