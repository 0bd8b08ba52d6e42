/*
 * toc.h
 *	  pg_dump's table of contents: reading it from a custom-format stream or
 *	  a toc.dat, adding what a snapshot holds, writing a toc.dat.
 */
#ifndef STEEP_TOC_H
#define STEEP_TOC_H

#include "postgres.h"

#include "base/bytebuffer.h"
#include "base/codec.h"
#include "utils/hsearch.h"

typedef enum TocSection
{
	TOC_NONE = 1, /* comments and rights: go with their object */
	TOC_PRE_DATA = 2,
	TOC_DATA = 3,
	TOC_POST_DATA = 4
} TocSection;

/* Strings may be NULL where pg_dump writes none. */
typedef struct TocEntry
{
	int dump_id;
	bool had_dumper; /* has data in the archive */
	Oid catalog_tableoid;
	Oid catalog_oid;
	char *tag;
	char *desc; /* "TABLE", "INDEX", ... */
	TocSection section;
	char *defn;
	char *drop_stmt;
	char *copy_stmt;
	char *schema;
	char *tablespace;
	char *tableam;
	char relkind; /* of relations, else '\0' */
	char *owner;
	int *dependencies; /* dump ids */
	int ndependencies;
	char *filename; /* of data, else NULL */
} TocEntry;

typedef struct TocEntries
{
	TocEntry **items;
	int count;
	int capacity;
} TocEntries;

typedef struct TocHeader
{
	uint8 major;
	uint8 minor;
	uint8 revision;
	uint8 compression; /* a Codec */
	int created[7];    /* sec min hour mday mon year isdst, of tm */
	char *dbname;
	char *server_version;
	char *dump_version;
} TocHeader;

typedef struct Toc
{
	MemoryContext context; /* holds everything below */
	TocHeader header;
	TocEntries entries;       /* as read, in archive order */
	TocEntries table_data;    /* added; written before the first entry of
								 * section data or post-data */
	TocEntries large_objects; /* added; written after table_data */
	TocEntries refreshes;     /* added; written last */
	int max_dump_id;
	HTAB *relations; /* by pg_class oid */
} Toc;

/* What a TABLE DATA entry says of its table. */
typedef struct TocTableData
{
	Oid relid;
	const char *schema;
	const char *table;
	const char *owner;
	const char *const *columns; /* in COPY's order; none: no column list */
	int ncolumns;
	bool extension_member;   /* a config table: has no TABLE entry */
	const char *root_schema; /* NULL, or load through this partition root */
	const char *root_table;
} TocTableData;

/* toc_read.c */
extern Toc *toc_read(const char *data, size_t len);

/* toc_write.c */
extern void toc_write(const Toc *toc, Codec codec, ByteBuffer *out);

/* toc.c */
extern void toc_remove_secrets(Toc *toc);
extern TocEntry *toc_find_table(const Toc *toc, Oid relid);
extern TocEntry *toc_next_table(const Toc *toc, int *position);

/* toc_add.c */
extern TocEntry *toc_add_table_data(Toc *toc, const TocTableData *spec);
extern TocEntry *toc_add_matview_refresh(Toc *toc, Oid relid);
extern bool toc_loads_via_root(const TocEntry *entry);

/* toc_large_objects.c */
extern TocEntry *
toc_add_large_objects(Toc *toc, const char *tag, const char *oids, const char *owner);
extern void
toc_add_remark(Toc *toc, const TocEntry *on, const char *desc, const char *tag, const char *defn);
extern Oid *toc_large_objects(const TocEntry *metadata, uint32 *n);
extern const TocEntry *toc_large_objects_of(const Toc *toc, const TocEntry *entry);
extern char *
toc_large_objects_statement(const Toc *toc, const TocEntry *entry, bool no_owner, bool replace);

/* shared by the toc_*.c files */
extern TocEntry *toc_make_entry(Toc *toc, const char *desc, TocSection section, Oid oid);
extern void toc_append(Toc *toc, TocEntries *list, TocEntry *entry);
extern void toc_index_relations(Toc *toc);
extern TocEntry *toc_find_relation(const Toc *toc, Oid relid, const char *desc);

#endif /* STEEP_TOC_H */
