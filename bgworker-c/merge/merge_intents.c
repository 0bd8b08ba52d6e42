/*
 * merge_intents.c
 *	  What became of batches at the peer, when the answer to their COMMIT was
 *	  lost with the connection or the server.
 *
 * The audit records of such a batch are committed here before the peer commits,
 * together with the id of the peer's transaction. Afterwards the peer knows
 * whether that was committed: if not, the records go.
 */
#include "merge/merge.h"

#include "catalog/pg_type.h"
#include "jobs/owner.h"
#include "jobs/requester.h"
#include "utils/builtins.h"

/* Forget that a batch was written: the peer has not committed it. */
void
merge_take_back(const char *merge_id, int64 batch)
{
	Oid types[] = {TEXTOID, INT8OID};
	Datum values[] = {CStringGetTextDatum(merge_id), Int64GetDatum(batch)};
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute(
		"update steep_repl.merges m set rows_merged = m.rows_merged - i.rows "
		"from steep_repl._merge_intents i where m.merge_id = $1 and i.merge_id = $1 and i.batch = $2",
		2, types, values, NULL);
	owner_execute(
		"update steep_repl.merge_tables t set rows_merged = t.rows_merged - i.rows "
		"from steep_repl._merge_intents i where t.merge_id = $1 and i.merge_id = $1 and i.batch = $2 and t.table_name = i.table_name",
		2, types, values, NULL);
	owner_execute("delete from steep_repl.merge_audit_log where merge_id = $1 and batch = $2", 2,
				  types, values, NULL);
	owner_execute("delete from steep_repl._merge_intents where merge_id = $1 and batch = $2", 2,
				  types, values, NULL);
	owner_commit_transaction(&session);
}

/* All batches of the merge are known to be committed; rows of conflicts, whose numbers are negative, are another matter. */
void
merge_forget_intents(JobRun *run)
{
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute("delete from steep_repl._merge_intents where merge_id = $1 and batch > 0", 1,
				  (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(run->job->object_id)}, NULL);
	owner_commit_transaction(&session);
}

/* An intent that an earlier attempt left; false if there is none. Where that stopped counting batches, this one goes on. */
static bool
find_intent(JobRun *run, const char *merge_id, int64 *batch, char **peer_xid)
{
	OwnerSession session;
	MemoryContext old;
	bool isnull;
	bool found;

	owner_begin_transaction(&session);
	owner_execute(
		"select greatest((select max(a.batch) from steep_repl.merge_audit_log a where a.merge_id = $1), 0)",
		1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(merge_id)}, NULL);
	run->merge->batch = DatumGetInt64(owner_value(0, 1, &isnull));
	found =
		owner_execute(
			"select i.batch, i.peer_xid from steep_repl._merge_intents i where i.merge_id = $1 limit 1",
			1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(merge_id)}, NULL) == 1;
	if (found)
	{
		*batch = DatumGetInt64(owner_value(0, 1, &isnull));
		old = MemoryContextSwitchTo(run->context);
		*peer_xid = owner_text(0, 2);
		MemoryContextSwitchTo(old);
	}
	owner_commit_transaction(&session);
	return found;
}

/* Ask the peer about the batches that an earlier attempt left in doubt. */
void
merge_settle_intents(JobRun *run, const char *merge_id)
{
	int64 batch;
	char *peer_xid;

	while (find_intent(run, merge_id, &batch, &peer_xid))
	{
		Oid types[] = {TEXTOID, TEXTOID};
		Datum values[] = {CStringGetTextDatum(run->merge->connection),
						  CStringGetTextDatum(peer_xid)};
		char *status;
		OwnerSession session;

		requester_begin();
		status =
			requester_text(run, "select steep_repl._merge_peer_status($1, $2)", 2, types, values);
		requester_commit();
		if (strcmp(status, "aborted") == 0)
			merge_take_back(merge_id, batch);
		owner_begin_transaction(&session);
		owner_execute("delete from steep_repl._merge_intents where merge_id = $1 and batch = $2", 2,
					  (Oid[]){TEXTOID, INT8OID},
					  (Datum[]){CStringGetTextDatum(merge_id), Int64GetDatum(batch)}, NULL);
		owner_commit_transaction(&session);
	}
}
