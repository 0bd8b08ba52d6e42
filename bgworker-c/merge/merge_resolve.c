/*
 * merge_resolve.c
 *	  Settling one conflict in a session: the row is written with the caller's
 *	  rights, what was done is written down as the extension's owner.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "base/roles.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(steep_repl_resolve_write);
PG_FUNCTION_INFO_V1(steep_repl_resolve_settle);
PG_FUNCTION_INFO_V1(steep_repl_check_no_transaction_block);

/* The row of a conflict, among the batches of its merge, which count from 1. */
#define BATCH_OF(conflict_id) (-(conflict_id))

/* What happens at the peer is committed there before the caller's transaction is. */
Datum
steep_repl_check_no_transaction_block(PG_FUNCTION_ARGS)
{
	if (IsTransactionBlock())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("%s cannot run inside a transaction block",
							   text_to_cstring(PG_GETARG_TEXT_PP(0))),
						errdetail("A ROLLBACK would not take back what it does at the peer.")));
	PG_RETURN_VOID();
}

/*
 * The merge of a conflict, whose requester the caller must be a member of. The
 * table and its key are those of the conflict, whatever came of the plan.
 */
static char *
merge_of_conflict(int64 conflict_id, MergeTable *table)
{
	Oid caller = GetUserId();
	MemoryContext context = CurrentMemoryContext;
	OwnerSession session;
	char *merge_id;
	Oid requester;
	bool isnull;

	owner_begin(&session);
	owner_execute("select * from steep_repl._lock_conflict($1)", SQL_ARGS(arg_int8(conflict_id)));
	requester = DatumGetObjectId(owner_value(0, 1, &isnull));
	if (isnull || !can_be_role(caller, requester))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("there is no open conflict " INT64_FORMAT " of yours", conflict_id)));
	merge_id = MemoryContextStrdup(context, owner_text(0, 2));
	*table = (MergeTable){.name = MemoryContextStrdup(context, owner_text(0, 3)),
						  .key = MemoryContextStrdup(context, owner_text(0, 4))};
	owner_end(&session);
	return merge_id;
}

/* The one batch that the row of the conflict is; false if both sides have the same row by now. */
static bool
run_batch(const char *connection, char **batch)
{
	MemoryContext context = CurrentMemoryContext;
	bool found;

	SPI_connect();
	if (sql_execute("select * from steep_repl._merge_batch($1, 1, false, false, null)",
					SQL_ARGS(arg_text(connection))) != SPI_OK_SELECT ||
		SPI_processed != 1 || SPI_tuptable->tupdesc->natts != N_BATCH_FIELDS)
		elog(ERROR, "the row of a conflict is no batch");
	found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, BATCH_ACTION + 1) != NULL;
	for (int i = 0; found && i < N_BATCH_FIELDS; i++)
	{
		char *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);

		batch[i] = text ? MemoryContextStrdup(context, text) : NULL;
	}
	SPI_finish();
	if (found)
		merge_check_batch(batch);
	if (found && strcmp(batch[BATCH_N_WRITTEN], "0") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE), errmsg("the row could not be written"),
				 errdetail_internal("%s", batch[BATCH_WHY] ? batch[BATCH_WHY]
														   : "Somebody has changed it.")));
	return found;
}

/*
 * What was written here is settled with the caller's transaction; of what was
 * written at the peer there is the record, and that it is in doubt. The id of
 * the transaction there; NULL if nothing was written there.
 */
static char *
write_row(int64 conflict_id, const char *choice, const char *connection)
{
	char *caller = GetUserNameFromId(GetUserId(), false);
	MergeTable table;
	char *merge_id = merge_of_conflict(conflict_id, &table);
	Batch batch;
	bool is_written = run_batch(connection, batch);
	bool is_at_peer = is_written && merge_is_at_peer(batch);
	OwnerSession session;

	owner_begin(&session);
	if (is_written)
		merge_keep_audit(merge_id, BATCH_OF(conflict_id), caller, &table, batch);
	if (!is_at_peer)
		owner_execute("select steep_repl._conflict_resolved($1, $2, $3)",
					  SQL_ARGS(arg_int8(conflict_id), arg_text(choice), arg_text(caller)));
	else
		owner_execute("select steep_repl._merge_keep_intent($1, $2, $3, $4, 0)",
					  SQL_ARGS(arg_text(merge_id), arg_int8(BATCH_OF(conflict_id)),
							   arg_text(batch[BATCH_PEER_XID]), arg_text(table.name)));
	owner_end(&session);
	return is_at_peer ? batch[BATCH_PEER_XID] : NULL;
}

/* Plan the merge of the row; whether the two sides replicate to each other. */
static bool
begin_resolving(int64 conflict_id, const char *choice, const char *connection)
{
	bool isnull = true;
	bool replicates = false;

	SPI_connect();
	if (sql_execute("select steep_repl._resolve_begin(steep_repl._conflict($1), $2, $3)",
					SQL_ARGS(arg_int8(conflict_id), arg_text(choice), arg_text(connection))) ==
			SPI_OK_SELECT &&
		SPI_processed == 1)
		replicates =
			DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (isnull)
		elog(ERROR, "the merge of conflict " INT64_FORMAT " was not planned", conflict_id);
	return replicates;
}

/* The peer's transaction in which a call wrote the row of a conflict, that is not known to be committed; NULL if there is none. */
static char *
find_doubt(const char *merge_id, int64 conflict_id)
{
	MemoryContext context = CurrentMemoryContext;
	OwnerSession session;
	char *peer_xid = NULL;

	owner_begin(&session);
	if (owner_execute(
			"select peer_xid from steep_repl._merge_intents where merge_id = $1 and batch = $2",
			SQL_ARGS(arg_text(merge_id), arg_int8(BATCH_OF(conflict_id)))) == 1)
		peer_xid = MemoryContextStrdup(context, owner_text(0, 1));
	owner_end(&session);
	return peer_xid;
}

/* Nothing is written: the row stays on each side what it is. */
static void
keep_row(int64 conflict_id)
{
	MergeTable table;
	char *merge_id = merge_of_conflict(conflict_id, &table);
	const char *caller = GetUserNameFromId(GetUserId(), false);
	OwnerSession session;

	if (find_doubt(merge_id, conflict_id) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("whether the peer has committed the row of conflict " INT64_FORMAT
						" is not known",
						conflict_id),
				 errhint("Call resolve_conflict with choice 'local' again, which asks the peer.")));
	owner_begin(&session);
	owner_execute("select steep_repl._conflict_resolved($1, 'keep', $2)",
				  SQL_ARGS(arg_int8(conflict_id), arg_text(caller)));
	owner_end(&session);
}

/* By what a side has, for the choice of its row. The transaction at the peer; NULL if nothing was written there. */
static char *
write_chosen(int64 conflict_id, const char *choice, const char *connection)
{
	ReplOriginId before = transaction_origin;
	volatile bool replicates = begin_resolving(conflict_id, choice, connection);
	char *volatile peer_xid = NULL;
	int level = NewGUCNestLevel();

	if (worker_may_skip_triggers())
		(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		if (replicates && origin_may_be_set())
			origin_begin(DoNotReplicateId);
		peer_xid = write_row(conflict_id, choice, connection);
	}
	PG_FINALLY();
	{
		/* unless a trigger has changed it: then it may be gone */
		if (transaction_origin == DoNotReplicateId)
			transaction_origin = before;
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
	return peer_xid;
}

Datum
steep_repl_resolve_write(PG_FUNCTION_ARGS)
{
	int64 conflict_id = PG_GETARG_INT64(0);
	char *choice = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *peer_xid = NULL;

	if (strcmp(choice, "keep") == 0)
		keep_row(conflict_id);
	else
		peer_xid = write_chosen(conflict_id, choice, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (peer_xid == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(peer_xid));
}

/* As the caller. */
static bool
peer_has_committed(const char *connection, const char *peer_xid)
{
	char *status = NULL;
	bool result;

	SPI_connect();
	if (sql_execute("select steep_repl._merge_peer_status($1, $2)",
					SQL_ARGS(arg_text(connection), arg_text(peer_xid))) == SPI_OK_SELECT &&
		SPI_processed == 1)
		status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (status == NULL)
		elog(ERROR, "the state of a transaction at the peer is not known");
	result = strcmp(status, "aborted") != 0;
	SPI_finish();
	return result;
}

/*
 * steep_repl._resolve_settle(conflict_id, connection): whether the peer has
 * committed what a call wrote there, of which that was in doubt; NULL if
 * nothing is.
 */
Datum
steep_repl_resolve_settle(PG_FUNCTION_ARGS)
{
	int64 conflict_id = PG_GETARG_INT64(0);
	MergeTable table;
	char *merge_id = merge_of_conflict(conflict_id, &table);
	char *peer_xid = find_doubt(merge_id, conflict_id);
	const char *caller = GetUserNameFromId(GetUserId(), false);
	OwnerSession session;
	bool is_committed;

	if (peer_xid == NULL)
		PG_RETURN_NULL();
	is_committed = peer_has_committed(text_to_cstring(PG_GETARG_TEXT_PP(1)), peer_xid);
	owner_begin(&session);
	if (is_committed) /* only the choice of what is here is written there */
	{
		owner_execute("select steep_repl._conflict_resolved($1, 'local', $2)",
					  SQL_ARGS(arg_int8(conflict_id), arg_text(caller)));
		owner_execute("select steep_repl._merge_settle_intent($1, $2)",
					  SQL_ARGS(arg_text(merge_id), arg_int8(BATCH_OF(conflict_id))));
	}
	else
		owner_execute("select steep_repl._merge_take_back($1, $2)",
					  SQL_ARGS(arg_text(merge_id), arg_int8(BATCH_OF(conflict_id))));
	owner_end(&session);
	PG_RETURN_BOOL(is_committed);
}
