/*
 * pg_dump_local.h
 *	  How pg_dump finds back to this server; see also pg_dump.h.
 */
#ifndef STEEP_PG_DUMP_LOCAL_H
#define STEEP_PG_DUMP_LOCAL_H

extern const char *pg_dump_local_host(void);
extern const char *pg_dump_default_path(void);
extern const char *pg_dump_default_conninfo(void);
extern const char *const *pg_dump_environment(const char *application_name);

#endif /* STEEP_PG_DUMP_LOCAL_H */
