/*
 * merge_keep.c
 *	  What a batch did, written down in the transaction that did it.
 */
#include "merge/merge.h"

#include "catalog/pg_type.h"
#include "jobs/owner.h"
#include "utils/builtins.h"

bool
merge_is_at_peer(char **batch)
{
	return batch[BATCH_PEER_XID] != NULL;
}

/* Rows that were read, by their numbers in $5: of each side, in $3 and $4, and what identifies them, by the columns in $6. */
#define READ_ROWS                                                                                         \
	"with r as (select l.image as local_row, p.image as remote_row, coalesce(l.image, p.image) as image " \
	"  from unnest($5::int[]) n(no) left join steep_repl._merge_rows_of($3) l using (no) "                \
	"  left join steep_repl._merge_rows_of($4) p using (no)) "
#define KEY "(select jsonb_object_agg(k.name, r.image -> k.name) from unnest($6::text[]) k(name))"

/* That the peer has yet to commit the batch; what was said of earlier ones is settled. */
static void
keep_intent(JobRun *run, const MergeTable *table, char **batch)
{
	Oid types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(run->job->object_id), Int64GetDatum(run->merge->batch),
					  CStringGetTextDatum(batch[BATCH_PEER_XID]), CStringGetTextDatum(table->name),
					  CStringGetTextDatum(batch[BATCH_N_WRITTEN])};

	owner_execute(
		"delete from steep_repl._merge_intents where merge_id = $1 and batch > 0 and batch < $2", 2,
		types, values, NULL);
	owner_execute(
		"insert into steep_repl._merge_intents (merge_id, batch, peer_xid, table_name, rows) values ($1, $2, $3, $4, $5::bigint)",
		5, types, values, NULL);
}

/* Rows that somebody is to decide about; one that is open already gets the images of now. */
static void
keep_conflicts(JobRun *run, const MergeTable *table, char **batch, const char *numbers,
			   const char *reason)
{
	static const char *const sql = READ_ROWS
		"insert into steep_repl.merge_conflicts as c (merge_id, requested_by_oid, peer, table_name, key, reason, local_row, remote_row) "
		"select $1, m.requested_by_oid, m.peer, $2, " KEY
		", $7, r.local_row, r.remote_row from r, steep_repl.merges m where m.merge_id = $1 "
		"on conflict (requested_by_oid, coalesce(peer, ''), table_name, md5(key::text), reason) where status = 'open' do update "
		"set merge_id = excluded.merge_id, local_row = excluded.local_row, remote_row = excluded.remote_row, detected_at = clock_timestamp()";
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(run->job->object_id),
					  CStringGetTextDatum(table->name),
					  CStringGetTextDatum(batch[BATCH_HERE]),
					  CStringGetTextDatum(batch[BATCH_THERE]),
					  CStringGetTextDatum(numbers),
					  CStringGetTextDatum(table->key),
					  CStringGetTextDatum(reason)};

	owner_execute(sql, 7, types, values, NULL);
}

/* Rows that an undo leaves, since they have changed: also in the counts. */
void
merge_keep_refused(JobRun *run, const MergeTable *table, char **batch)
{
	OwnerSession session;

	owner_begin(&session);
	keep_conflicts(run, table, batch, batch[BATCH_REFUSED], "changed since");
	owner_execute(
		"update steep_repl.merges set rows_left = rows_left + $2::bigint, conflict_count = coalesce(conflict_count, 0) + $2::bigint where merge_id = $1",
		2, (Oid[]){TEXTOID, TEXTOID},
		(Datum[]){CStringGetTextDatum(run->job->object_id),
				  CStringGetTextDatum(batch[BATCH_N_CHANGED])},
		NULL);
	owner_end(&session);
}

/* Count rows that were written; of a dry run: would have been. */
static void
count_rows(JobRun *run, const MergeTable *table, char **batch)
{
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(run->job->object_id),
					  CStringGetTextDatum(batch[BATCH_N_WRITTEN]),
					  CStringGetTextDatum(table->name)};

	owner_execute(
		"update steep_repl.merges set rows_merged = rows_merged + $2::bigint where merge_id = $1",
		2, types, values, NULL);
	owner_execute(
		"update steep_repl.merge_tables set rows_merged = rows_merged + $2::bigint where merge_id = $1 and table_name = $3",
		3, types, values, NULL);
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
			keep_intent(run, table, batch);
	}
	if (!is_manual)
		count_rows(run, table, batch);
	owner_end(&session);
}
