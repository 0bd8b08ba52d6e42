/*
 * apply_advice.c
 *	  What to do when an item of an apply fails: leave it out, or stop and say
 *	  how to go on.
 */
#include "apply/apply_item.h"

#include "mb/pg_wchar.h"

/* So much of a statement is shown when it fails. */
#define SHOWN_BYTES 600

/*
 * What is not worth a failure: statistics, for which autovacuum comes by, and
 * comments on extensions, which only an extension's owner may make.
 */
bool
apply_item_is_optional(const ApplyItem *item, const ErrorData *error)
{
	const TocEntry *entry = apply_item_entry(item);

	if (applier.plan->step == STEP_ANALYZE)
		return error->sqlerrcode != ERRCODE_QUERY_CANCELED;
	return entry != NULL && applier.plan->step == STEP_PRE_DATA &&
		   error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE &&
		   strcmp(entry->desc, "COMMENT") == 0 && strncmp(entry->tag, "EXTENSION ", 10) == 0;
}

/* What to do before the job can go on. */
static const char *
remedy(const ApplyItem *item, const ErrorData *error)
{
	const TocEntry *entry = apply_item_entry(item);

	if (entry != NULL && strcmp(entry->desc, "EXTENSION") == 0)
		return "Install what the extension needs on this server";
	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_OBJECT:
			return "Create what is missing, a role for example (or start anew with no_owner and no_privileges => true)";
		case ERRCODE_DUPLICATE_TABLE:
		case ERRCODE_DUPLICATE_OBJECT:
		case ERRCODE_DUPLICATE_FUNCTION:
		case ERRCODE_DUPLICATE_SCHEMA:
			return "Drop what is in the way (or start anew with sections => '{data}')";
		case ERRCODE_FOREIGN_KEY_VIOLATION:
			if (applier.plan->step == STEP_LOAD && !applier.skips_triggers)
				return "GRANT SET ON PARAMETER session_replication_role to the role, so that foreign keys wait until all is loaded";
			break;
		case ERRCODE_TRIGGERED_ACTION_EXCEPTION:
			if (applier.plan->step == STEP_LOAD)
				return "Disable those triggers, or GRANT SET ON PARAMETER session_replication_role to the role, so that they do not fire";
			break;
		case ERRCODE_DATA_CORRUPTED:
			return "Put the snapshot's files back as they were";
		default:
			break;
	}
	return "Mend the cause";
}

/* Say in an item's error which applier.statement it was and how to go on. */
void
apply_item_advise(const ApplyItem *item, ErrorData *error)
{
	const char *advice =
		psprintf("%s, then go on with: select steep_repl.retry_operation(" INT64_FORMAT ")",
				 remedy(item, error), applier.job->id);

	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		return;
	error->hint =
		error->hint == NULL ? psprintf("%s.", advice) : psprintf("%s\n%s.", error->hint, advice);
	if (applier.statement != NULL)
	{
		int len = pg_mbcliplen(applier.statement, strlen(applier.statement), SHOWN_BYTES);
		char *shown = psprintf("Statement: %.*s%s", len, applier.statement,
							   applier.statement[len] ? "..." : "");

		error->detail = error->detail == NULL ? shown : psprintf("%s\n%s", error->detail, shown);
	}
}
