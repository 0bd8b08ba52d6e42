/*
 * merge_actions.c
 *	  The actions of a merge, as plv8/merge/merge.ts orders them. Rows are compared
 *	  and written by SQL with the requester's rights; what is done is written down
 *	  as the extension's owner, in the same transaction as what is written here.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/requester.h"
#include "jobs/rows_progress.h"

/* The counts of a table's comparison. */
#define N_COUNTS 5

/* What was found, with what an earlier attempt has merged already. */
static void
keep_counts(JobRun *run, const MergeTable *table, char **found)
{
	OwnerSession session;

	owner_begin_transaction(&session);
	owner_execute("select steep_repl._merge_keep_counts($1, $2, $3, $4, $5)",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(table->name),
						   arg_text(table->key), arg_texts(found, N_COUNTS),
						   arg_int8(run->merge->batch)));
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
	int no = action_int(action, "no", 0);
	const MergeTable *table;
	char *found[N_COUNTS];

	action_check_number(no, run->merge->n_compared + 1);
	table = merge_table(run, no);
	run_show_table(run, table->name);
	rows_progress_begin_table(run, no);

	requester_begin();
	requester_texts(run, found, N_COUNTS, "select * from steep_repl._merge_compare($1, $2)",
					SQL_ARGS(arg_text(run->merge->connection), arg_int4(no)));
	requester_commit();
	keep_counts(run, table, found);
	pg_atomic_write_u32(&run->job->counters.tables_done, no);
	rows_progress_end_table(run);
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
		run->expected = "write";
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

	if (merge->rounds == 0)
	{
		requester_begin();
		merge->rows_to_write =
			requester_count(run, "select steep_repl._merge_rows_to_write()", NO_ARGS);
		requester_commit();
	}
	merge->n_steps = steps;
	merge->n_changed = 0;
	merge->rounds++;
	merge_report(run, 0);
}

/* Now that all tables are compared, and what could stand in the way is known: they are compared once more, locked. */
static void
discard_backlog(JobRun *run, Jsonb *action)
{
	MergeRun *merge = run->merge;
	OwnerSession session;
	char *found[2];

	requester_begin();
	requester_texts(run, found, 2, "select * from steep_repl._merge_discard_backlog($1)",
					SQL_ARGS(arg_text(merge->connection)));
	requester_commit();
	owner_begin_transaction(&session);
	for (int i = 0; i < merge->n_tables; i++)
		owner_execute(
			"select steep_repl._merge_keep_counts($1, $2, $3, steep_repl._texts($4::jsonb -> $5), $6)",
			SQL_ARGS(arg_text(run->job->object_id), arg_text(merge->tables[i].name),
					 arg_text(merge->tables[i].key), arg_text(found[0]), arg_int4(i),
					 arg_int8(merge->batch)));
	owner_commit_transaction(&session);
	merge->has_discarded = true;
	merge->rounds = 0;
	begin_round(run, pg_strtoint32(found[1]));
}

/* What the merge wrote that is to be undone, in steps. */
static void
read_audit(JobRun *run, Jsonb *action)
{
	int steps;

	requester_begin();
	steps =
		requester_count(run, "select steep_repl._undo_read($1, $2)",
						SQL_ARGS(arg_text(run->merge->connection), arg_text(run->merge->undoes)));
	requester_commit();
	/* as those that a merge has compared */
	pg_atomic_write_u32(&run->job->counters.tables_done, run->merge->n_tables);
	begin_round(run, steps);
}

/* Rows that a unique index would refuse; then what is to be written, in order. */
static void
check_unique(JobRun *run, Jsonb *action)
{
	char *found[3];

	requester_begin();
	requester_texts(run, found, 3, "select * from steep_repl._merge_first_steps($1)",
					SQL_ARGS(arg_text(run->merge->connection)));
	requester_commit();
	appendStringInfo(&run->facts, "\"colliding\":%s,\"collisions\":%s,", found[0], found[1]);
	begin_round(run, pg_strtoint32(found[2]));
}

static void
look_again(JobRun *run, Jsonb *action)
{
	int steps;

	requester_begin();
	steps = requester_count(
		run, "select steep_repl._merge_look_again($1, $2)",
		SQL_ARGS(arg_text(run->merge->connection), arg_bool(run->merge->undoes != NULL)));
	requester_commit();
	begin_round(run, steps);
}

/* Past what was merged, unless nothing was to be written. */
static void
move_sequences(JobRun *run, Jsonb *action)
{
	if (!run->merge->dry_run)
		merge_ask_for_warnings(run, "select to_json(steep_repl._merge_move_sequences($1))");
}

static void
check_foreign_keys(JobRun *run, Jsonb *action)
{
	if (!run->merge->dry_run)
		merge_ask_for_warnings(run, "select to_json(steep_repl._merge_check_foreign_keys($1)"
									" || steep_repl._merge_changed_tables($1))");
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
	{"note_left",
	 "finalizing",
	 {"check_unique", "discard_backlog", "write", "look_again"},
	 merge_note_left},
	{"move_sequences", "finalizing", {"note_left"}, move_sequences},
	{"check_foreign_keys", "finalizing", {"move_sequences"}, check_foreign_keys},
	{"close_peer", "finalizing", {"check_foreign_keys"}, merge_close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable merge_actions = ACTION_TABLE("bidirectional_merge", true, actions, merge_give_up);

static const Action undo[] = {
	{"open_peer", "planning", {ACTION_START}, merge_open_peer},
	{"begin_merge",
	 "planning",
	 {"open_peer"},
	 merge_begin,
	 {{"discards", MEMBER_FLAG}, {"replicates", MEMBER_FLAG}}},
	{"read_audit", "planning", {"begin_merge"}, read_audit},
	{"write",
	 "merging",
	 {"read_audit", "write", "look_again"},
	 merge_write,
	 {{"no", MEMBER_COUNT}}},
	{"look_again", "merging", {"write", "look_again"}, look_again},
	{"note_left", "finalizing", {"read_audit", "write", "look_again"}, merge_note_left},
	{"check_foreign_keys", "finalizing", {"note_left"}, check_foreign_keys},
	{"close_peer", "finalizing", {"check_foreign_keys"}, merge_close_peer},
	{"complete", "complete", {"close_peer"}},
};

const ActionTable undo_actions = ACTION_TABLE("merge_undo", true, undo, merge_give_up);
