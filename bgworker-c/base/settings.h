/*
 * settings.h
 *	  Names and settings, which every part of the C shim shares.
 */
#ifndef STEEP_SETTINGS_H
#define STEEP_SETTINGS_H

#include "postgres.h"

/* The extension, its schema and the library all have this name. */
#define STEEP_NAME "steep_repl"

extern char *steep_snapshot_directories;
extern int steep_max_parallel_workers;
extern int steep_reserved_worker_slots;
extern int steep_poll_interval;
extern bool steep_notify_table_names;
extern char *steep_pg_dump_path;
extern char *steep_local_conninfo;
extern int steep_lock_timeout;
extern int steep_retention_warning;
extern int steep_lag_warning;
extern int steep_lag_time_warning;
extern int steep_slot_retention_warning;
extern bool steep_trusted_code_only;
extern int steep_plannings;
extern bool steep_in_set_statement;
extern int steep_planning_timeout;
extern int steep_max_peer_answer;

extern void settings_init(void);

#endif /* STEEP_SETTINGS_H */
