/*
 * toc_format.h
 *	  The constants of pg_dump's archive format, which no installed header of
 *	  PostgreSQL has.
 */
#ifndef STEEP_TOC_FORMAT_H
#define STEEP_TOC_FORMAT_H

#define TOC_MAGIC "PGDMP"
#define TOC_MAGIC_LEN 5
#define TOC_MAJOR 1
#define TOC_MINOR 16

#define TOC_INT_SIZE 4
#define TOC_OFFSET_SIZE 8

/* The directory format's toc.dat carries the tar format's code. */
#define TOC_FORMAT_CUSTOM 1
#define TOC_FORMAT_DIRECTORY 3

/* Whether an entry of the custom format has data, and knows where. */
#define TOC_OFFSET_UNSET 1
#define TOC_OFFSET_SET 2
#define TOC_OFFSET_NO_DATA 3

/* No entry is shorter than its 18 fields, each a sign or a length at least. */
#define TOC_ENTRY_MIN_SIZE (18 * (1 + TOC_INT_SIZE))

#endif /* STEEP_TOC_FORMAT_H */
