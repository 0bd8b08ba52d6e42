/*
 * merge_resolve.c
 *	  Settling one conflict in a session: the row is written with the caller's
 *	  rights, what was done is written down as the extension's owner.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "base/roles.h"
#include "replication/origin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(steep_repl_resolve_write);
PG_FUNCTION_INFO_V1(steep_repl_check_no_transaction_block);

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
	bool isnull;

	owner_begin(&session);
	if (owner_execute(
			"select m.requested_by_oid, m.merge_id, c.table_name, array(select jsonb_object_keys(c.key))::text from steep_repl.merge_conflicts c join steep_repl.merges m using (merge_id) "
			"where c.conflict_id = $1 and c.status = 'open' for update of c",
			1, (Oid[]){INT8OID}, (Datum[]){Int64GetDatum(conflict_id)}, NULL) == 0 ||
		!can_be_role(caller, DatumGetObjectId(owner_value(0, 1, &isnull))))
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
	if (SPI_execute_with_args(
			MERGE_BATCH_SQL, 5, (Oid[]){TEXTOID, INT4OID, BOOLOID, BOOLOID, TEXTOID},
			(Datum[]){CStringGetTextDatum(connection), Int32GetDatum(1), BoolGetDatum(false),
					  BoolGetDatum(false), CStringGetTextDatum("")},
			NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "a batch is no SELECT");
	found = SPI_processed == 1;
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

static void
write_row(int64 conflict_id, const char *choice, const char *connection)
{
	char *caller = GetUserNameFromId(GetUserId(), false);
	MergeTable table;
	char *merge_id = merge_of_conflict(conflict_id, &table);
	Batch batch;
	bool is_written = run_batch(connection, batch);
	OwnerSession session;

	owner_begin(&session);
	if (is_written)
		merge_keep_audit(merge_id, 0, caller, &table, batch);
	owner_execute(
		"update steep_repl.merge_conflicts set status = 'resolved', choice = $2, resolved_at = clock_timestamp(), resolved_by = $3 "
		"where conflict_id = $1",
		3, (Oid[]){INT8OID, TEXTOID, TEXTOID},
		(Datum[]){Int64GetDatum(conflict_id), CStringGetTextDatum(choice),
				  CStringGetTextDatum(caller)},
		NULL);
	owner_end(&session);
}

/* Plan the merge of the row; whether the two sides replicate to each other. */
static bool
begin_resolving(int64 conflict_id, const char *choice, const char *connection)
{
	bool isnull = true;
	bool replicates = false;

	SPI_connect();
	if (SPI_execute_with_args("select steep_repl._resolve_begin(steep_repl._conflict($1), $2, $3)",
							  3, (Oid[]){INT8OID, TEXTOID, TEXTOID},
							  (Datum[]){Int64GetDatum(conflict_id), CStringGetTextDatum(choice),
										CStringGetTextDatum(connection)},
							  NULL, false, 0) == SPI_OK_SELECT &&
		SPI_processed == 1)
		replicates =
			DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (isnull)
		elog(ERROR, "the merge of conflict " INT64_FORMAT " was not planned", conflict_id);
	return replicates;
}

Datum
steep_repl_resolve_write(PG_FUNCTION_ARGS)
{
	int64 conflict_id = PG_GETARG_INT64(0);
	char *choice = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *connection = text_to_cstring(PG_GETARG_TEXT_PP(2));
	RepOriginId before = replorigin_session_origin;
	volatile bool replicates = begin_resolving(conflict_id, choice, connection);
	int level = NewGUCNestLevel();

	if (worker_may_skip_triggers())
		(void) set_config_option("session_replication_role", "replica", PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	PG_TRY();
	{
		if (replicates && worker_may_set_origin())
			replorigin_session_origin = DoNotReplicateId;
		write_row(conflict_id, choice, connection);
	}
	PG_FINALLY();
	{
		replorigin_session_origin = before;
	}
	PG_END_TRY();
	AtEOXact_GUC(true, level);
	PG_RETURN_VOID();
}
