/*
 * merge_open.c
 *	  A merge before it reads a row: it connects, plans all tables, and finds out
 *	  what stands in its way.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/requester.h"
#include "utils/builtins.h"
#include "utils/guc.h"

static const char *
param(JobRun *run, const char *name)
{
	char *value;

	requester_begin();
	requester_select(run, "select $1::jsonb ->> $2", 2, (Oid[]){TEXTOID, TEXTOID},
					 (Datum[]){CStringGetTextDatum(run->params), CStringGetTextDatum(name)}, 1,
					 &value);
	requester_commit();
	return value;
}

/*
 * The merge that an undo takes back. Parameters are not to be believed: it must
 * be the requester's own, since it was with that role's rights that its audit
 * log came about. steep_repl.undo_merge() queues the undo for that role.
 */
static const char *
merge_to_undo(JobRun *run)
{
	const char *merge_id = param(run, "undoes");
	Oid requester = GetUserId();
	OwnerSession session;
	bool isnull;
	bool allowed;

	owner_begin_transaction(&session);
	allowed =
		merge_id != NULL &&
		owner_execute(
			"select m.requested_by_oid from steep_repl.merges m where m.merge_id = $1 and not m.dry_run and m.undoes is null "
			"and m.status in ('complete', 'failed', 'cancelled') and steep_repl._is_here(m.system_identifier, m.database_oid)",
			1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(merge_id)}, NULL) == 1 &&
		requester == DatumGetObjectId(owner_value(0, 1, &isnull));
	owner_commit_transaction(&session);
	if (!allowed)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("there is no merge of yours to undo"),
						errhint("Use steep_repl.undo_merge().")));
	return merge_id;
}

/* Connect, find out what an earlier attempt left undecided, plan all tables, and gather what stands in the way. */
void
merge_open_peer(JobRun *run, Jsonb *action)
{
	static const char *const sql_plan =
		"select steep_repl._merge_plans($1, case when jsonb_typeof($2::jsonb -> 'tables') = 'array' then "
		"  array(select jsonb_array_elements_text($2::jsonb -> 'tables')) end, $2::jsonb)";
	static const char *const sql_names =
		"select array(select t.name from pg_temp.steep_repl_tables t order by t.no)::text";
	static const char *const sql_facts = "select steep_repl._merge_facts($1, $2::jsonb)";
	MergeRun *merge = palloc0_object(MergeRun);
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[2];
	OwnerSession session;
	char *names;
	char *facts;

	const char *dry_run = param(run, "dry_run");

	if (strcmp(run->operation, "merge_undo") == 0)
		merge->undoes = merge_to_undo(run);
	merge->dry_run = merge->undoes == NULL && dry_run != NULL && strcmp(dry_run, "true") == 0;
	requester_begin();
	merge->connection = requester_open_peer(run);
	run->merge = merge;
	requester_commit();
	if (merge->undoes != NULL)
		merge_settle_intents(run, merge->undoes);
	merge_settle_intents(run, run->job->object_id);

	requester_begin();
	values[0] = CStringGetTextDatum(merge->connection);
	values[1] = CStringGetTextDatum(run->params);
	merge_tables_read(run, requester_count(run, sql_plan, 2, types, values));
	names = requester_text(run, sql_names, 0, NULL, NULL);
	facts = requester_text(run, sql_facts, 2, types, values);
	requester_commit();

	pg_atomic_write_u32(&run->job->counters.tables_total, merge->n_tables);
	pg_atomic_write_u32(&run->job->counters.items_total, merge->n_tables);
	owner_begin_transaction(&session);
	owner_execute("update steep_repl.merges set tables = $2::text[] where operation_id = $1", 2,
				  (Oid[]){INT8OID, TEXTOID},
				  (Datum[]){Int64GetDatum(run->job->id), CStringGetTextDatum(names)}, NULL);
	owner_commit_transaction(&session);
	if (facts[0] != '{')
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("the facts of a merge are no object")));
	/* the members of the object */
	appendBinaryStringInfo(&run->facts, facts + 1, strlen(facts) - 2);
}

/* All is well: prepare both sessions for writing. */
void
merge_begin(JobRun *run, Jsonb *action)
{
	MergeRun *merge = run->merge;
	Oid types[] = {TEXTOID, TEXTOID, BOOLOID};
	Datum values[3];
	char *nothing[1];

	merge->replicates = action_flag(action, "replicates");
	merge->discards = action_flag(action, "discards");
	requester_begin();
	values[0] = CStringGetTextDatum(merge->connection);
	values[1] = CStringGetTextDatum(run->job->object_id);
	values[2] = BoolGetDatum(merge->replicates);
	requester_select(run, "select steep_repl._merge_prepare_peer($1, $2, $3)", 3, types, values, 1,
					 nothing);
	if (merge->discards)
		requester_select(run, "select steep_repl._merge_ignore_replication($1)", 1, types, values,
						 1, nothing);
	if (worker_may_skip_triggers())
		SetConfigOption("session_replication_role", "replica", PGC_SUSET, PGC_S_OVERRIDE);
	requester_commit();
	appendStringInfo(&run->facts, "\"tables\":%d", merge->n_tables);
	merge_expect_compare(run);
}
