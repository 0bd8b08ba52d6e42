/*
 * merge_actions.c
 *	  The actions of a merge, as plv8/merge/merge.ts orders them. Rows are compared
 *	  and written by SQL with the requester's rights; what is done is written down
 *	  as the extension's owner, in the same transaction as what is written here.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/requester.h"
#include "utils/builtins.h"

/* The counts of a table's comparison. */
#define N_COUNTS 5

/* What was found, with what an earlier attempt has merged already. */
static void
keep_counts(JobRun *run, const MergeTable *table, char **found)
{
	static const char *const sql_table =
		"with done as ("
		"  select count(*) filter (where a.category = 'local_only') as l, count(*) filter (where a.category = 'remote_only') as r, "
		"    count(*) filter (where a.category = 'conflict') as c, count(*) filter (where a.action not like 'delete%') as n "
		"  from steep_repl.merge_audit_log a where $9 > 0 and a.merge_id = $1 and a.table_name = $2) "
		"insert into steep_repl.merge_tables as t (merge_id, table_name, key_columns, local_only_count, remote_only_count, "
		"  match_count, conflict_count, unsettled_count) "
		"select $1, $2, $3::text[], $4::bigint + d.l, $5::bigint + d.r, $6::bigint - d.n, $7::bigint + d.c, $8::bigint from done d "
		"on conflict (merge_id, table_name) do update set local_only_count = excluded.local_only_count, "
		"  remote_only_count = excluded.remote_only_count, match_count = excluded.match_count, "
		"  conflict_count = excluded.conflict_count, unsettled_count = excluded.unsettled_count, rows_left = 0";
	static const char *const sql_merge =
		"update steep_repl.merges m set local_only_count = s.l, remote_only_count = s.r, match_count = s.m, "
		"  conflict_count = s.c, unsettled_count = s.u "
		"from (select sum(t.local_only_count) as l, sum(t.remote_only_count) as r, sum(t.match_count) as m, "
		"        sum(t.conflict_count) as c, sum(t.unsettled_count) as u "
		"      from steep_repl.merge_tables t where t.merge_id = $1) s where m.merge_id = $1";
	Oid types[N_COUNTS + 4];
	Datum values[N_COUNTS + 4] = {CStringGetTextDatum(run->job->object_id)};
	OwnerSession session;

	types[0] = types[1] = types[2] = TEXTOID;
	values[1] = CStringGetTextDatum(table->name);
	values[2] = CStringGetTextDatum(table->key);
	for (int i = 0; i < N_COUNTS; i++)
	{
		types[i + 3] = TEXTOID;
		values[i + 3] = CStringGetTextDatum(found[i]);
	}
	types[N_COUNTS + 3] = INT8OID;
	values[N_COUNTS + 3] = Int64GetDatum(run->merge->batch);
	owner_begin_transaction(&session);
	owner_execute(sql_table, N_COUNTS + 4, types, values, NULL);
	owner_execute(sql_merge, 1, types, values, NULL);
	owner_commit_transaction(&session);
}

/* All tables are compared before anything is written. */
void
merge_expect_compare(JobRun *run)
{
	if (run->merge->undoes != NULL)
		run->expected = "read_audit";
	else
		run->expected = run->merge->n_compared < run->merge->n_tables ? "compare" : "check_unique";
}

/* Compare one table and decide about its rows. */
static void
compare(JobRun *run, Jsonb *action)
{
	static const char *const sql_compare =
		"select c.local_only_count, c.remote_only_count, c.match_count, c.conflict_count, c.unsettled_count "
		"from steep_repl._merge_compare($1, $3, $2::jsonb) c";
	int no = action_int(action, "no", 0);
	const MergeTable *table;
	char *found[N_COUNTS];

	action_check_number(no, run->merge->n_compared + 1);
	table = merge_table(run, no);
	run_show_table(run, table->name);

	requester_begin();
	requester_texts(run, sql_compare, 3, (Oid[]){TEXTOID, TEXTOID, INT4OID},
					(Datum[]){CStringGetTextDatum(run->merge->connection),
							  CStringGetTextDatum(run->params), Int32GetDatum(no)},
					N_COUNTS, found);
	requester_commit();
	keep_counts(run, table, found);
	pg_atomic_write_u32(&run->job->counters.tables_done, no);
	pg_atomic_write_u32(&run->job->counters.items_done, no);
	run->merge->n_compared = no;
	appendStringInfo(&run->facts, "\"compared\":%d,\"tables\":%d", no, run->merge->n_tables);
	merge_expect_compare(run);
}

/* How far the writing is, for TypeScript. */
void
merge_report(JobRun *run, int written)
{
	MergeRun *merge = run->merge;

	merge->n_written = written;
	if (merge->discards && !merge->has_discarded && !merge->dry_run)
		run->expected = "discard_backlog";
	else if (written < merge->n_steps)
		run->expected = merge->undoes ? "undo" : "write";
	appendStringInfo(&run->facts,
					 "\"written\":%d,\"steps\":%d,\"rounds\":%d,\"changed\":" INT64_FORMAT
					 ",\"discards\":%s",
					 written, merge->n_steps, merge->rounds, merge->n_changed,
					 merge->discards ? "true" : "false");
}

/* Steps of a new round. */
static void
begin_round(JobRun *run, int steps)
{
	MergeRun *merge = run->merge;

	merge->n_steps = steps;
	merge->n_changed = 0;
	merge->rounds++;
	pg_atomic_write_u32(&run->job->counters.items_total, merge->n_steps);
	pg_atomic_write_u32(&run->job->counters.items_done, 0);
	merge_report(run, 0);
}

/* Now that all tables are compared. */
static void
discard_backlog(JobRun *run, Jsonb *action)
{
	char *nothing[1];

	requester_begin();
	requester_select(run, "select steep_repl._merge_discard_backlog($1)", 1, (Oid[]){TEXTOID},
					 (Datum[]){CStringGetTextDatum(run->merge->connection)}, 1, nothing);
	requester_commit();
	run->merge->has_discarded = true;
	merge_report(run, 0);
}

/* What the merge wrote that is to be undone, in steps. */
static void
read_audit(JobRun *run, Jsonb *action)
{
	int steps;

	requester_begin();
	steps = requester_count(run, "select steep_repl._undo_read($1)", 1, (Oid[]){TEXTOID},
							(Datum[]){CStringGetTextDatum(run->merge->undoes)});
	requester_commit();
	/* as those that a merge has compared */
	pg_atomic_write_u32(&run->job->counters.tables_done, run->merge->n_tables);
	begin_round(run, steps);
}

/* Rows that a unique index would refuse; then what is to be written, in order. */
static void
check_unique(JobRun *run, Jsonb *action)
{
	char *found[2];
	int steps;

	requester_begin();
	requester_texts(
		run,
		"select c.colliding, coalesce(to_json(c.examples), 'null')::text from steep_repl._merge_check_unique($1) c",
		1, (Oid[]){TEXTOID}, (Datum[]){CStringGetTextDatum(run->merge->connection)}, 2, found);
	steps = requester_count(run, "select steep_repl._merge_steps(1)", 0, NULL, NULL);
	requester_commit();
	appendStringInfo(&run->facts, "\"colliding\":%s,\"collisions\":%s,", found[0], found[1]);
	begin_round(run, steps);
}

static void
look_again(JobRun *run, Jsonb *action)
{
	int steps;

	requester_begin();
	steps = requester_count(run, "select steep_repl._merge_look_again($1)", 1, (Oid[]){TEXTOID},
							(Datum[]){CStringGetTextDatum(run->merge->connection)});
	requester_commit();
	begin_round(run, steps);
}

/* Count what was left; move sequences, unless nothing was to be written. */
static void
move_sequences(JobRun *run, Jsonb *action)
{
	static const char *const sql_tables =
		"update steep_repl.merge_tables t set rows_left = l.value::bigint "
		"from jsonb_each_text($2::jsonb) l(key, value) where t.merge_id = $1 and t.table_name = l.key";
	static const char *const sql_merge =
		"update steep_repl.merges m set rows_left = (select coalesce(sum(t.rows_left), 0) from steep_repl.merge_tables t where t.merge_id = $1) "
		"where m.merge_id = $1";
	Oid types[] = {TEXTOID, TEXTOID};
	Datum values[2] = {CStringGetTextDatum(run->merge->connection)};
	OwnerSession session;
	char *left;
	char *nothing[1];

	requester_begin();
	left = requester_text(run, "select steep_repl._merge_rows_left()", 0, NULL, NULL);
	if (!run->merge->dry_run)
		requester_select(run, "select steep_repl._merge_move_sequences($1)", 1, types, values, 1,
						 nothing);
	requester_commit();
	values[0] = CStringGetTextDatum(run->job->object_id);
	values[1] = CStringGetTextDatum(left);
	owner_begin_transaction(&session);
	owner_execute(sql_tables, 2, types, values, NULL);
	owner_execute(sql_merge, 1, types, values, NULL);
	owner_commit_transaction(&session);
}

static void
check_foreign_keys(JobRun *run, Jsonb *action)
{
	char *nothing[1];

	if (run->merge->dry_run)
		return;
	requester_begin();
	requester_select(run, "select steep_repl._merge_check_foreign_keys($1)", 1, (Oid[]){TEXTOID},
					 (Datum[]){CStringGetTextDatum(run->merge->connection)}, 1, nothing);
	requester_commit();
}

/* Leave the peer as it was. */
static void
tidy_up(JobRun *run, bool has_failed)
{
	char *nothing[1];

	requester_begin();
	requester_select(run, "select steep_repl._merge_close($1, $2, $3)", 3,
					 (Oid[]){TEXTOID, TEXTOID, BOOLOID},
					 (Datum[]){CStringGetTextDatum(run->merge->connection),
							   CStringGetTextDatum(run->job->object_id), BoolGetDatum(has_failed)},
					 1, nothing);
	requester_commit();
}

/*
 * The job has failed or was cancelled. What is known of the last batch at the
 * peer is written down, or asked for over a new connection. If that fails, too,
 * the batch stays in doubt until the job is retried.
 */
static void
give_up(JobRun *run)
{
	MemoryContext context = CurrentMemoryContext;

	if (run->merge == NULL)
		return;
	PG_TRY();
	{
		tidy_up(run, true);
		if (!run->merge->is_in_doubt)
			merge_forget_intents(run);
		else
		{
			requester_begin();
			run->merge->connection = requester_open_peer(run);
			requester_commit();
			merge_settle_intents(run, run->job->object_id);
			tidy_up(run, true);
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	run->merge = NULL;
}

static void
close_peer(JobRun *run, Jsonb *action)
{
	merge_forget_intents(run);
	tidy_up(run, false);
	run->merge = NULL;
}

static const Action actions[] = {
	{"open_peer", "planning", {ACTION_START}, merge_open_peer},
	{"begin_merge",
	 "planning",
	 {"open_peer"},
	 merge_begin,
	 {{"discards", MEMBER_FLAG}, {"replicates", MEMBER_FLAG}}},
	{"compare", "comparing", {"begin_merge", "compare"}, compare, {{"no", MEMBER_COUNT}}},
	{"check_unique", "comparing", {"begin_merge", "compare"}, check_unique},
	{"discard_backlog", "comparing", {"check_unique"}, discard_backlog},
	{"write",
	 "merging",
	 {"check_unique", "discard_backlog", "write", "look_again"},
	 merge_write,
	 {{"no", MEMBER_COUNT}}},
	{"look_again", "merging", {"write", "look_again"}, look_again},
	{"move_sequences",
	 "finalizing",
	 {"check_unique", "discard_backlog", "write", "look_again"},
	 move_sequences},
	{"check_foreign_keys", "finalizing", {"move_sequences"}, check_foreign_keys},
	{"close_peer", "finalizing", {"check_foreign_keys"}, close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable merge_actions = ACTION_TABLE("bidirectional_merge", true, actions, give_up);

static const Action undo[] = {
	{"open_peer", "planning", {ACTION_START}, merge_open_peer},
	{"begin_merge",
	 "planning",
	 {"open_peer"},
	 merge_begin,
	 {{"discards", MEMBER_FLAG}, {"replicates", MEMBER_FLAG}}},
	{"read_audit", "planning", {"begin_merge"}, read_audit},
	{"undo", "merging", {"read_audit", "undo"}, merge_write, {{"no", MEMBER_COUNT}}},
	{"check_foreign_keys", "finalizing", {"read_audit", "undo"}, check_foreign_keys},
	{"close_peer", "finalizing", {"check_foreign_keys"}, close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable undo_actions = ACTION_TABLE("merge_undo", true, undo, give_up);
