/*
 * worker.h
 *	  What the dynamic workers have in common: registration, connection as the
 *	  job's requester, settings that users cannot break, errors of helpers.
 */
#ifndef STEEP_WORKER_H
#define STEEP_WORKER_H

#include "postgres.h"

#include "postmaster/bgworker.h"
#include "jobs/shared_state.h"

typedef enum WorkerKind
{
	WORKER_DISPATCHER,
	WORKER_COORDINATOR,
	WORKER_HOLDER,
	WORKER_COPIER,
	WORKER_APPLIER,
	WORKER_FETCHER,
	WORKER_REMOVER,
} WorkerKind;

extern BackgroundWorkerHandle *worker_register(WorkerKind kind, int slot, int number, Oid database);
extern Oid worker_database(void);
extern int worker_number(void);
extern SteepJob *worker_start(const char *title);
extern void worker_pin_settings(void);
extern void worker_begin_with_snapshot(const char *snapshot_name);
extern void worker_run_helper(SteepJob *job, void (*body)(SteepJob *job));
extern bool worker_is_cancelled(SteepJob *job);
extern void worker_check_cancel(SteepJob *job);
extern bool worker_may_skip_triggers(void);

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
extern PGDLLEXPORT void steep_repl_fetcher_main(Datum arg);
extern PGDLLEXPORT void steep_repl_remover_main(Datum arg);

#endif /* STEEP_WORKER_H */
