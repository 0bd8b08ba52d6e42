/*
 * merge_keep.c
 *	  What a batch did, written down in the transaction that did it.
 */
#include "merge/merge.h"

#include "jobs/owner.h"

bool
merge_is_at_peer(char **batch)
{
	return batch[BATCH_PEER_XID] != NULL;
}

/* Rows that somebody is to decide about. */
static void
keep_conflicts(JobRun *run, const MergeTable *table, char **batch, const char *numbers,
			   const char *reason)
{
	owner_execute("select steep_repl._merge_keep_conflicts($1, $2, $3, $4, $5, $6, $7)",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(table->name),
						   arg_text(batch[BATCH_HERE]), arg_text(batch[BATCH_THERE]),
						   arg_text(numbers), arg_text(table->key), arg_text(reason)));
}

/* Rows that an undo leaves, since they have changed: also in the counts. */
void
merge_keep_refused(JobRun *run, const MergeTable *table, char **batch)
{
	OwnerSession session;

	owner_begin(&session);
	keep_conflicts(run, table, batch, batch[BATCH_REFUSED], "changed since");
	owner_execute("select steep_repl._merge_count_refused($1, $2::int[])",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(batch[BATCH_REFUSED])));
	owner_end(&session);
}

/* What a batch did, in the transaction that did it. */
void
merge_keep_batch(JobRun *run, const MergeTable *table, char **batch)
{
	OwnerSession session;
	bool is_manual = strcmp(batch[BATCH_ACTION], "manual") == 0;

	owner_begin(&session);
	if (!run->merge->dry_run)
	{
		run->merge->batch++;
		if (is_manual)
			keep_conflicts(run, table, batch, batch[BATCH_NUMBERS], "conflict");
		else
			merge_keep_audit(run->job->object_id, run->merge->batch, NULL, table, batch);
		if (merge_is_at_peer(batch))
			owner_execute("select steep_repl._merge_keep_intent($1, $2, $3, $4, $5::bigint)",
						  SQL_ARGS(arg_text(run->job->object_id), arg_int8(run->merge->batch),
								   arg_text(batch[BATCH_PEER_XID]), arg_text(table->name),
								   arg_text(batch[BATCH_N_WRITTEN])));
	}
	if (!is_manual)
		owner_execute("select steep_repl._merge_count_rows($1, $2, $3::bigint)",
					  SQL_ARGS(arg_text(run->job->object_id), arg_text(table->name),
							   arg_text(batch[BATCH_N_WRITTEN])));
	owner_end(&session);
}
