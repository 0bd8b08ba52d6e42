/*
 * toc_statement.h
 *	  The SQL that makes a database have what an archive's entries describe.
 */
#ifndef STEEP_TOC_STATEMENT_H
#define STEEP_TOC_STATEMENT_H

#include "toc/toc.h"

/* toc_statement.c */
extern char *toc_entry_statement(const TocEntry *entry, bool no_owner);

/* toc_encoding.c */
extern void toc_convert(Toc *toc, int encoding);

#endif /* STEEP_TOC_STATEMENT_H */
