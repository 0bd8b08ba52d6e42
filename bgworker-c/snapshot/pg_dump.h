/*
 * pg_dump.h
 *	  Runs pg_dump as a child of this backend and collects its archive.
 */
#ifndef STEEP_PG_DUMP_H
#define STEEP_PG_DUMP_H

#include "postgres.h"

#include "base/bytebuffer.h"
#include "nodes/pg_list.h"

/* One object to dump, by its exact name. */
typedef struct PgDumpTable
{
	const char *schema;
	const char *table;
	bool excluded; /* this and its partitions are left out */
} PgDumpTable;

typedef struct PgDumpRequest
{
	const char *program;          /* NULL: pg_dump_default_path() */
	const char *conninfo;         /* NULL: pg_dump_default_conninfo() */
	const char *snapshot;         /* an exported one, or NULL */
	const char *application_name; /* or NULL */
	int lock_timeout_ms;          /* 0: waits without a limit */
	List *tables;                 /* of PgDumpTable *; with their partitions */
	List *schemas;                /* of char *; none to include: the whole database */
} PgDumpRequest;

typedef struct PgDumpCommand PgDumpCommand;

/*
 * Makes a command, then runs it: the custom-format archive of the schema, for
 * toc_read(), in the caller's memory context, or what a failed query said. Ends
 * the child on error, on cancel and at process exit.
 */
extern PgDumpCommand *pg_dump_prepare(const PgDumpRequest *request);
extern const char *pg_dump_run(const PgDumpCommand *command, void (*tick)(void *arg),
							   void *tick_arg, ByteBuffer *archive);

#endif /* STEEP_PG_DUMP_H */
