/*
 * apply_advice.c
 *	  What to do when an item of an apply fails: leave it out, or stop and say
 *	  how to go on.
 */
#include "apply/apply_item.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_proc.h"
#include "mb/pg_wchar.h"
#include "utils/catcache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* So much of a statement is shown when it fails. */
#define SHOWN_BYTES 600

/* What belongs to a node and not to its data: how it reaches others, and what it lets them read. */
static bool
is_of_node(const TocEntry *entry)
{
	static const char *const descs[] = {"SERVER", "FOREIGN DATA WRAPPER", "PUBLICATION",
										"PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA"};

	for (size_t i = 0; i < lengthof(descs); i++)
		if (strcmp(entry->desc, descs[i]) == 0)
			return true;
	return false;
}

/*
 * What is not worth a failure: statistics, for which autovacuum comes by,
 * comments on extensions, which only an extension's owner may make, and what a
 * node has of its own under the same name.
 */
bool
apply_item_is_optional(const ApplyItem *item, const ErrorData *error)
{
	const TocEntry *entry = apply_item_entry(item);

	if (applier.plan->step == STEP_ANALYZE)
		return error->sqlerrcode != ERRCODE_QUERY_CANCELED;
	if (entry != NULL && error->sqlerrcode == ERRCODE_DUPLICATE_OBJECT && is_of_node(entry))
		return true;
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

/*
 * The innermost function that an error's context names, or NULL. Languages that
 * know its arguments name a line after them; others put its mere name in quotes.
 */
static char *
failed_function(const char *context)
{
	static const char word[] = " function ";
	const char *name = context == NULL ? NULL : strstr(context, word);
	const char *end;

	if (name == NULL)
		return NULL;
	name += strlen(word);
	end = *name == '"' ? strchr(name + 1, '"') : strstr(name, " line ");
	if (end == NULL)
		return NULL;
	return *name == '"' ? pnstrdup(name + 1, end - name - 1) : pnstrdup(name, end - name);
}

/* A mere name with schema and arguments, where there is only one function of that name. */
static char *
full_name(char *name)
{
	MemoryContext context = CurrentMemoryContext;
	CatCList *functions;
	Oid found = InvalidOid;
	int n = 0;

	StartTransactionCommand();
	functions = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	for (int i = 0; i < functions->n_members; i++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&functions->members[i]->tuple);

		if (proc->pronamespace == PG_CATALOG_NAMESPACE)
			continue;
		found = proc->oid;
		n++;
	}
	ReleaseCatCacheList(functions);
	if (n == 1)
		name = MemoryContextStrdup(context, format_procedure_qualified(found));
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return name;
}

/*
 * Whether a function did not find something: nearly always because the caller's
 * search_path used to find it, which is empty here, as in pg_restore. Then the
 * error says so.
 */
static bool
explain_search_path(const ApplyItem *item, ErrorData *error)
{
	const TocEntry *entry = apply_item_entry(item);
	char *function = failed_function(error->context);

	if (function == NULL || entry == NULL ||
		(error->sqlerrcode != ERRCODE_UNDEFINED_TABLE &&
		 error->sqlerrcode != ERRCODE_UNDEFINED_FUNCTION &&
		 error->sqlerrcode != ERRCODE_UNDEFINED_OBJECT))
		return false;
	if (strchr(function, '(') == NULL)
		function = full_name(function);
	error->detail = psprintf(
		"%s %s uses function %s, which relies on the caller's search_path. That is empty here, as in pg_restore.",
		entry->desc, apply_item_name(item), function);
	error->hint = psprintf(
		"Fix the schemas that the function needs: ALTER FUNCTION %s SET search_path = schema, ...",
		function);
	return true;
}

/* Say in an item's error which applier.statement it was and how to go on. */
void
apply_item_advise(const ApplyItem *item, ErrorData *error)
{
	const char *advice;

	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		return;
	advice = explain_search_path(item, error) ? "Then" : psprintf("%s, then", remedy(item, error));
	advice = psprintf("%s go on with: select steep_repl.retry_operation(" INT64_FORMAT ")", advice,
					  applier.job->id);
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
