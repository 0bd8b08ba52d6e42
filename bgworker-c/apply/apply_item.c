/*
 * apply_item.c
 *	  One item of an apply in one transaction, with the mark that it is done.
 */
#include "apply/apply_item.h"

#include "access/xact.h"
#include "apply/apply.h"
#include "apply/apply_load.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "base/sql_args.h"
#include "toc/toc_statement.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

/* What pg_restore sets before it runs an archive. */
static const char *const archive_settings[][2] = {
	{"search_path", ""},
	{"check_function_bodies", "off"},
	{"default_tablespace", ""},
	{"default_table_access_method", "heap"},
	{"client_min_messages", "warning"},
#ifdef HAS_ESCAPE_STRING_WARNING
	{"escape_string_warning", "off"},
#endif
};

Applier applier;

/* The archive's entry for an item, or NULL. */
const TocEntry *
apply_item_entry(const ApplyItem *item)
{
	return item->entry < 0 ? NULL : applier.toc->entries.items[item->entry];
}

static const char *
qualified_name(const TocEntry *entry)
{
	return entry->schema == NULL || entry->schema[0] == '\0'
			   ? entry->tag
			   : quote_qualified_identifier(entry->schema, entry->tag);
}

/* What an item is about, for progress and messages. */
const char *
apply_item_name(const ApplyItem *item)
{
	const TocEntry *entry = apply_item_entry(item);

	if (entry == NULL)
		return "";
	if (strncmp(entry->desc, "BLOB", 4) == 0)
		return psprintf("large objects %s", entry->tag);
	/* The tag of what belongs to a table is the table's name and its own. */
	if (applier.plan->step != STEP_LOAD && strchr(entry->tag, ' ') != NULL && entry->schema != NULL)
		return psprintf("%s.%s", entry->schema, entry->tag);
	return qualified_name(entry);
}

/* What the archive's own SET says; it comes from the setting of the database that was dumped. */
static bool
has_standard_strings(const Toc *archive)
{
	for (int i = 0; i < archive->entries.count; i++)
		if (strcmp(archive->entries.items[i]->desc, "STDSTRINGS") == 0)
			return archive->entries.items[i]->defn == NULL ||
				   strstr(archive->entries.items[i]->defn, "'off'") == NULL;
	return true;
}

/* What is loaded carries the origin that the coordinator has found, or none that exists. */
static ReplOriginId
find_origin(const ApplyPlan *plan)
{
	if (plan->replicate || !origin_may_be_set())
		return InvalidReplOriginId;
	if (plan->origin_pid == applier.job->coordinator_pid)
		origin_join(plan->origin, plan->origin_pid);
	else if (plan->origin_pid != 0)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		SPI_connect();
		if (sql_execute("select steep_repl._apply_origin_of($1, $2)",
						SQL_ARGS(arg_oid(plan->origin), arg_int4(plan->origin_pid))) !=
			SPI_OK_SELECT)
			elog(ERROR, "the replication origin of an apply cannot be used");
		SPI_finish();
		PopActiveSnapshot();
	}
	return origin_take();
}

/* Prepare this worker; what it makes lives in CurrentMemoryContext. */
void
apply_item_init(SteepJob *job, ApplyPlan *plan, const Toc *toc, int dirfd)
{
	applier.job = job;
	applier.plan = plan;
	applier.toc = toc;
	apply_load_init(job, plan, dirfd);
	applier.standard_strings = has_standard_strings(toc);
	StartTransactionCommand();
	applier.skips_triggers = worker_may_skip_triggers();
	applier.origin = find_origin(plan);
	CommitTransactionCommand();
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

/*
 * Begin an item's transaction. Its settings, and those that its statements
 * make, end with it: they are of a nesting level that is always rolled back.
 */
static int
begin_item(void)
{
	int level;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	origin_begin(applier.origin);
	level = NewGUCNestLevel();
	for (size_t i = 0; i < lengthof(archive_settings); i++)
		set_local(archive_settings[i][0], archive_settings[i][1]);
	set_local("standard_conforming_strings", applier.standard_strings ? "on" : "off");
	if (applier.skips_triggers &&
		(applier.plan->step == STEP_LOAD || applier.plan->step == STEP_TRUNCATE))
		set_local("session_replication_role", "replica");
	return level;
}

/*
 * Run what statements have put off to the commit, as that would: deferred
 * triggers, then cursors to be held, whose queries may put off more.
 */
static void
run_deferred(void)
{
	do
		AfterTriggerFireDeferred();
	while (PreCommit_Portals(false));
}

/*
 * Mark the item as done and commit both. Statistics are not marked, nor are
 * values of sequences, which a crash may undo where they are unlogged: both may
 * be done twice. No code of others runs once its settings are undone: they
 * would stay.
 */
static void
end_item(const ApplyItem *item, int level)
{
	run_deferred();
	AtEOXact_GUC(false, level);
	if (applier.plan->step != STEP_ANALYZE && applier.plan->step != STEP_SEQUENCES)
		apply_marks_add(applier.job->id, item->dump_id, item->part);
	PopActiveSnapshot();
	CommitTransactionCommand();
	origin_end();
}

/* Run SQL of the archive. What SPI refuses (BEGIN, COPY FROM stdin) has no place there. */
static void
execute(const char *sql)
{
	int rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("an archive cannot contain such a statement: %s",
							   SPI_result_code_string(rc))));
	SPI_finish();
}

/* One statement, so that tables may refer to each other. */
static char *
truncate_statement(void)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (uint32 i = 0; i < applier.plan->n_tables; i++)
		appendStringInfo(
			&sql, "%s%s", i == 0 ? "TRUNCATE ONLY " : ", ONLY ",
			qualified_name(applier.toc->entries.items[plan_tables(applier.plan)[i].entry]));
	return sql.data;
}

static bool
has_right(const TocEntry *entry, AclMode right)
{
	Oid relid = RangeVarGetRelid(makeRangeVar(entry->schema, entry->tag, -1), NoLock, true);

	return OidIsValid(relid) && pg_class_aclcheck(relid, GetUserId(), right) == ACLCHECK_OK;
}

/* That of large objects, for which an entry may stand by the thousand; or else an entry's own. */
static char *
statement_of_objects(const TocEntry *entry)
{
	/* to give them to whoever has them already would take as many locks as they are */
	bool no_owner =
		applier.plan->no_owner ||
		(entry->owner != NULL && strcmp(entry->owner, GetUserNameFromId(GetUserId(), false)) == 0);
	char *sql = toc_large_objects_statement(applier.toc, entry, no_owner, applier.plan->truncate);

	return sql != NULL ? sql : toc_entry_statement(entry, applier.plan->no_owner);
}

/*
 * The statement of an item that has one. Whoever may load a table may not
 * always analyze it, and then autovacuum does; nor set its sequence, of which
 * the job's warnings tell.
 */
static char *
statement_of(const ApplyItem *item)
{
	const TocEntry *entry = apply_item_entry(item);

	switch (applier.plan->step)
	{
		case STEP_TRUNCATE:
			return truncate_statement();
		case STEP_LOAD:
			return NULL;
		case STEP_ANALYZE:
			if (!has_right(entry, ACL_MAINTAIN))
				return NULL;
			return psprintf("ANALYZE ONLY %s", qualified_name(entry));
		case STEP_SEQUENCES:
			if (applier.plan->into_existing && !has_right(entry, ACL_UPDATE))
				return NULL;
			pg_fallthrough;
		default:
			return toc_entry_statement(entry, applier.plan->no_owner);
		case STEP_LARGE_OBJECTS:
		case STEP_RIGHTS:
			return statement_of_objects(entry);
	}
}

/* Do an item, in a transaction of its own. */
void
apply_item_run(const ApplyItem *item)
{
	MemoryContext context = CurrentMemoryContext;
	int level;
	char *sql;

	applier.statement = NULL; /* that of the item before is gone with its memory */
	level = begin_item();
	sql = statement_of(item);
	if (sql != NULL)
		applier.statement = MemoryContextStrdup(context, sql);
	if (applier.plan->step == STEP_LOAD)
		apply_load_item(item, apply_item_entry(item));
	else if (sql != NULL)
		execute(sql);
	end_item(item, level);

	if (applier.plan->step == STEP_LOAD)
		for (uint32 i = 0; i < item->n_frames; i++)
			pg_atomic_fetch_add_u64(&applier.job->counters.rows,
									plan_frames(applier.plan)[item->first_frame + i].rows);
}

/* Mark an item as done that is better left out. */
void
apply_item_skip(const ApplyItem *item)
{
	end_item(item, begin_item());
}
