/*
 * settings.c
 *	  The steep_repl.* settings. All are read from the configuration files
 *	  only: a job runs in a worker long after the session that asked for it,
 *	  so a session's own value would mean nothing there.
 */
#include "base/settings.h"

#include <limits.h>

#include "utils/guc.h"

char *steep_snapshot_directories = NULL;
int steep_max_parallel_workers = 8;
int steep_reserved_worker_slots = 3;
int steep_poll_interval = 5000;
bool steep_notify_table_names = true;
char *steep_pg_dump_path = NULL;
char *steep_local_conninfo = NULL;
int steep_lock_timeout = 30000;
int steep_retention_warning = 16384;
int steep_lag_warning = 1024;
int steep_lag_time_warning = 300;
int steep_slot_retention_warning = 10240;
int steep_planning_timeout = 600000;
int steep_max_peer_answer = 256;

/* Queries that are planned now under trusted_code_only, one within the other. */
int steep_plannings = 0;

/* A SET statement is being executed. */
bool steep_in_set_statement = false;

/*
 * Code of a table's owner must not switch off what keeps it from running: neither by
 * set_config(), nor by a SET clause of a function. The end of what has switched it on
 * restores what was before without asking this.
 */
static bool
check_trusted_code_only(bool *value, void **extra, GucSource source)
{
	if (*value || !steep_trusted_code_only || (steep_in_set_statement && steep_plannings == 0))
		return true;
	GUC_check_errcode(ERRCODE_INSUFFICIENT_PRIVILEGE);
	GUC_check_errmsg("\"steep_repl.trusted_code_only\" can only be turned off by SET");
	return false;
}

/* pg_dump gets this as an argument, and arguments show in the process list. */
static bool
check_local_conninfo(char **value, void **extra, GucSource source)
{
	if (strstr(*value, "password") == NULL && strstr(*value, "://") == NULL)
		return true;
	GUC_check_errdetail("A password there would show in the process list.");
	GUC_check_errhint("Write keyword=value pairs, and give the password in a file with passfile=.");
	return false;
}

/* Settings that say where files and programs are. */
static void
define_location_settings(void)
{
	DefineCustomStringVariable(
		"steep_repl.snapshot_directories",
		"Directories under which roles without pg_write_server_files may write snapshots.",
		"A comma-separated list of absolute paths.", &steep_snapshot_directories, "", PGC_SIGHUP,
		GUC_LIST_INPUT, NULL, NULL, NULL);
	DefineCustomStringVariable("steep_repl.pg_dump_path",
							   "The pg_dump program that reads the schema.",
							   "Empty means the pg_dump that belongs to this server.",
							   &steep_pg_dump_path, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"steep_repl.local_conninfo", "How pg_dump connects back to this server.",
		"A libpq connection string. Empty means the bootstrap superuser over the first Unix-domain socket.",
		&steep_local_conninfo, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_local_conninfo, NULL,
		NULL);
}

/* Settings that bound what jobs take from the server. */
static void
define_limit_settings(void)
{
	DefineCustomIntVariable("steep_repl.max_parallel_workers",
							"The most copy workers that one job may start.", NULL,
							&steep_max_parallel_workers, 8, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"steep_repl.reserved_worker_slots",
		"Background worker slots that jobs leave free for others, such as logical replication.",
		NULL, &steep_reserved_worker_slots, 3, 0, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("steep_repl.poll_interval",
							"How often a database with waiting jobs is looked at again.", NULL,
							&steep_poll_interval, 5000, 100, INT_MAX / 1000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"steep_repl.retention_warning",
		"How much WAL is written during a snapshot before its status_detail warns of what it holds back.",
		"0 turns the warning off.", &steep_retention_warning, 16384, 0, INT_MAX / 1024, PGC_SIGHUP,
		GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"steep_repl.lag_warning",
		"How far replication may be behind, in WAL, before health() is degraded.",
		"0 turns the warning off.", &steep_lag_warning, 1024, 0, INT_MAX / 1024, PGC_SIGHUP,
		GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("steep_repl.lag_time_warning",
							"How long replication may be behind before health() is degraded.",
							"0 turns the warning off.", &steep_lag_time_warning, 300, 0,
							INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"steep_repl.slot_retention_warning",
		"How much WAL a logical slot may hold back before health() is degraded.",
		"0 turns the warning off.", &steep_slot_retention_warning, 10240, 0, INT_MAX / 1024,
		PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("steep_repl.lock_timeout",
							"How long a job waits for a lock on a table before it fails.", NULL,
							&steep_lock_timeout, 30000, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("steep_repl.planning_timeout",
							"How long a job may take to find out what to do next before it fails.",
							NULL, &steep_planning_timeout, 600000, 100, INT_MAX / 1000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("steep_repl.max_peer_answer",
							"The largest answer of a peer that is taken in over the network.",
							"A row of a merge must fit in it, as text.", &steep_max_peer_answer,
							256, 1, 4096, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
}

/* Define every setting and reserve the prefix, so that a misspelt one is reported. */
void
settings_init(void)
{
	define_location_settings();
	define_limit_settings();
	DefineCustomBoolVariable(
		"steep_repl.notify_table_names",
		"Whether notifications on steep_repl_progress name the table being copied.",
		"Any role may LISTEN, so a table's name reaches roles that may not see the table.",
		&steep_notify_table_names, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	/* For our functions to set; whoever sets it by himself only refuses himself others' functions. */
	DefineCustomBoolVariable("steep_repl.trusted_code_only",
							 "Whether functions of other roles than superusers are refused.", NULL,
							 &steep_trusted_code_only, false, PGC_USERSET,
							 GUC_NO_SHOW_ALL | GUC_NO_RESET_ALL | GUC_NOT_IN_SAMPLE |
								 GUC_DISALLOW_IN_FILE,
							 check_trusted_code_only, NULL, NULL);
	MarkGUCPrefixReserved(STEEP_NAME);
}
