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

#include "jobs/owner.h"
#include "jobs/requester.h"

/* Forget that a batch was written: the peer has not committed it. */
void
merge_take_back(const char *merge_id, int64 batch)
{
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._merge_take_back($1, $2)",
				  SQL_ARGS(arg_text(merge_id), arg_int8(batch)));
	owner_commit_transaction(&session);
}

/* All batches of the merge are known to be committed; rows of conflicts, whose numbers are negative, are another matter. */
void
merge_forget_intents(JobRun *run)
{
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute("delete from steep_repl._merge_intents where merge_id = $1 and batch > 0",
				  SQL_ARGS(arg_text(run->job->object_id)));
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
	owner_execute("select * from steep_repl._merge_find_intent($1)", SQL_ARGS(arg_text(merge_id)));
	run->merge->batch = DatumGetInt64(owner_value(0, 1, &isnull));
	*batch = DatumGetInt64(owner_value(0, 2, &isnull));
	found = !isnull;
	old = MemoryContextSwitchTo(run->context);
	*peer_xid = owner_text(0, 3);
	MemoryContextSwitchTo(old);
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
		char *status;
		OwnerSession session;

		requester_begin();
		status = requester_text(run, "select steep_repl._merge_peer_status($1, $2)",
								SQL_ARGS(arg_text(run->merge->connection), arg_text(peer_xid)));
		requester_commit();
		if (strcmp(status, "aborted") == 0)
			merge_take_back(merge_id, batch);
		owner_begin_transaction(&session);
		owner_execute("select steep_repl._merge_settle_intent($1, $2)",
					  SQL_ARGS(arg_text(merge_id), arg_int8(batch)));
		owner_commit_transaction(&session);
	}
}
