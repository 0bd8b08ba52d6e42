/*
 * steep_repl.h
 *	  Declarations that every part of the C shim shares: names, settings and
 *	  the entry points of its background workers.
 */
#ifndef STEEP_REPL_H
#define STEEP_REPL_H

#include "postgres.h"

#include "fmgr.h"

/* The extension, its schema and the library all have this name. */
#define STEEP_NAME "steep_repl"

/* settings.c */
extern char *steep_snapshot_directories;
extern int steep_max_parallel_workers;
extern int steep_reserved_worker_slots;
extern int steep_poll_interval;
extern bool steep_notify_table_names;
extern char *steep_pg_dump_path;
extern char *steep_local_conninfo;
extern int steep_lock_timeout;
extern int steep_retention_warning;
extern bool steep_trusted_code_only;
extern int steep_planning_timeout;
extern int steep_max_peer_answer;

extern void settings_init(void);

/* error_context.c */
extern void error_context_init(void);

/* launcher.c */
extern void launcher_register(void);

/* lock_guard.c */
extern void lock_guard_init(void);

/* trusted_code.c */
extern void trusted_code_init(void);

/* enqueue.c */
extern void queue_wake_init(void);
extern void queue_wake_at_commit(int64 id);
extern void queue_require_launcher(void);
extern bool queue_has(int64 id);

/*
 * Entry points of background workers. The postmaster looks them up by name,
 * so they are the few functions besides the SQL-callable ones that must be
 * visible outside the library.
 */
extern PGDLLEXPORT void steep_repl_launcher_main(Datum arg);
extern PGDLLEXPORT void steep_repl_dispatcher_main(Datum arg);
extern PGDLLEXPORT void steep_repl_coordinator_main(Datum arg);
extern PGDLLEXPORT void steep_repl_holder_main(Datum arg);
extern PGDLLEXPORT void steep_repl_copier_main(Datum arg);
extern PGDLLEXPORT void steep_repl_applier_main(Datum arg);
extern PGDLLEXPORT void steep_repl_remover_main(Datum arg);

#endif /* STEEP_REPL_H */
