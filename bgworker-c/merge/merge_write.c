/*
 * merge_write.c
 *	  The batches of a merge: rows are written on one side, and the audit log
 *	  with them; then the transaction at the peer is ended.
 *
 * What is written here commits together with its audit records, while the peer
 * keeps its rows locked. What is written at the peer commits after its audit
 * records, which stay in doubt until that is known: see merge_intents.c.
 */
#include "merge/merge.h"

#include "access/xact.h"
#include "base/settings.h"
#include "jobs/owner.h"
#include "jobs/requester.h"
#include "jobs/rows_progress.h"
#include "utils/guc.h"

/* How long a batch may keep rows here locked that its peer is asked about, triggers there included. */
#define BATCH_MS (10 * 60 * 1000)

static void
free_batch(char **batch)
{
	for (int i = 0; i < N_BATCH_FIELDS; i++)
		if (batch[i] != NULL)
			pfree(batch[i]);
}

/* What the requester's SQL answers is not to be believed: its temporary tables, or its peer, may be anything. */
void
merge_check_batch(char **batch)
{
	static const BatchField needed[] = {BATCH_N_WRITTEN, BATCH_N_CHANGED, BATCH_IS_LAST,
										BATCH_REFUSED};
	static const BatchField of_rows[] = {BATCH_ACTION, BATCH_HERE, BATCH_THERE, BATCH_NUMBERS};
	bool is_whole = true;

	for (size_t i = 0; i < lengthof(needed); i++)
		is_whole = is_whole && batch[needed[i]] != NULL;
	for (size_t i = 0; is_whole && i < lengthof(of_rows); i++)
		is_whole = batch[of_rows[i]] != NULL || (strcmp(batch[BATCH_N_WRITTEN], "0") == 0 &&
												 strcmp(batch[BATCH_REFUSED], "{}") == 0);
	if (!is_whole)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("a batch of a merge lacks a part")));
}

static void
set_origin(JobRun *run, bool on)
{
	if (on && run->merge->replicates && origin_may_be_set())
		origin_begin(run->merge->origin);
	else
		origin_end();
}

/*
 * How many rows of what was written at the peer somebody has changed here since
 * they were let go of: if any, it may not stay, where the sides replicate to
 * each other.
 */
static int
changed_since(JobRun *run, int step, char **batch)
{
	if (!run->merge->replicates || run->merge->undoes != NULL || !merge_is_at_peer(batch))
		return 0;
	return requester_count(
		run, "select steep_repl._merge_changed_since($1, $2, $3::int[])",
		SQL_ARGS(arg_text(run->merge->connection), arg_int4(step), arg_text(batch[BATCH_NUMBERS])));
}

/* How the transaction of a batch at the peer was ended, as text. */
typedef enum EndField
{
	END_STATUS, /* what pg_xact_status said; NULL if nothing */
	END_SQLSTATE,
	END_MESSAGE,
	END_DETAIL,
	END_HINT,
	N_END_FIELDS
} EndField;

/* Raise what went wrong, or that the peer has not done what it was told. */
static void
check_end(char **end, bool is_at_peer, bool commit)
{
	const char *state = end[END_SQLSTATE];
	const char *status = end[END_STATUS] ? end[END_STATUS] : "";

	if (state != NULL)
		ereport(ERROR, (errcode(MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4])),
						errmsg_internal("%s", end[END_MESSAGE]),
						end[END_DETAIL] ? errdetail_internal("%s", end[END_DETAIL]) : 0,
						end[END_HINT] ? errhint("%s", end[END_HINT]) : 0));
	if (!is_at_peer || strcmp(status, commit ? "committed" : "aborted") == 0)
		return;
	if (strcmp(status, "aborted") == 0)
		ereport(ERROR, (errcode(ERRCODE_TRANSACTION_ROLLBACK),
						errmsg("peer: a batch was rolled back instead of committed"),
						errhint("Find out what stands between the two servers, then retry.")));
	ereport(ERROR, (errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
					errmsg("peer: what became of a batch is not what it was told")));
}

/*
 * End the transaction at the peer. What was written down of it goes only where
 * the peer says that it was rolled back; where it says nothing that can be
 * understood, the batch stays in doubt. False if it was to be rolled back: what
 * of it nobody has changed is the step's next batch.
 */
static bool
end_peer_transaction(JobRun *run, int step, char **batch)
{
	bool is_at_peer = merge_is_at_peer(batch);
	char *end[N_END_FIELDS];
	int n_changed;
	bool commit;

	requester_begin();
	n_changed = changed_since(run, step, batch);
	commit = n_changed == 0;
	requester_select(run, end, N_END_FIELDS,
					 "select * from steep_repl._merge_end_batch($1, $2, $3)",
					 SQL_ARGS(arg_text(run->merge->connection), arg_bool(commit),
							  arg_text(batch[BATCH_PEER_XID])));
	requester_commit();
	run->merge->n_changed += n_changed;
	if (is_at_peer && end[END_STATUS] != NULL && strcmp(end[END_STATUS], "aborted") == 0)
	{
		merge_take_back(run->job->object_id, run->merge->batch);
		run->merge->is_in_doubt = false;
	}
	else if (!is_at_peer || (end[END_STATUS] != NULL && strcmp(end[END_STATUS], "committed") == 0))
		run->merge->is_in_doubt = false;
	check_end(end, is_at_peer, commit);
	return commit;
}

/*
 * Rows that are written here only. A crash that loses the transaction loses
 * the audit records with it, and the resumed job finds the rows once more.
 */
static void
commit_without_waiting(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/* What a step does, and how. */
typedef struct Step
{
	int no;
	const MergeTable *table;
	const char *action;
	bool is_here;     /* rows are written here */
	bool reads_ahead; /* the other side may be read before the batch that it is for */
	bool is_alone;    /* no transaction at the peer belongs to a batch */
} Step;

static bool
ask_for_batch(JobRun *run, const Step *step, char **batch)
{
	MergeRun *merge = run->merge;

	if (merge->undoes != NULL)
		requester_select(run, batch, N_BATCH_FIELDS, "select * from steep_repl._undo_batch($1, $2)",
						 SQL_ARGS(arg_text(merge->connection), arg_int4(step->no)));
	else
		requester_select(
			run, batch, N_BATCH_FIELDS, "select * from steep_repl._merge_batch($1, $2, $3, $4, $5)",
			SQL_ARGS(arg_text(merge->connection), arg_int4(step->no), arg_bool(merge->dry_run),
					 arg_bool(step->reads_ahead), arg_text(merge->ahead)));
	merge_check_batch(batch);
	if (batch[BATCH_ACTION] != NULL && strcmp(batch[BATCH_ACTION], step->action) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("a batch of a merge did something else than its step says")));
	if (merge->ahead != NULL)
		pfree(merge->ahead);
	merge->ahead = batch[BATCH_AHEAD];
	batch[BATCH_AHEAD] = NULL;
	return strcmp(batch[BATCH_N_WRITTEN], "0") != 0;
}

/*
 * Rows here may be locked while the peer is waited for: where the sides
 * replicate to each other, and of an undo. Others wait for them then, and a
 * peer must not make them wait without end.
 */
static void
bound_peer(JobRun *run, bool on)
{
	MergeRun *merge = run->merge;

	if (!merge->replicates && merge->undoes == NULL)
		return;
	requester_begin();
	requester_call(
		run, "select steep_repl._peer_set_deadline($1, $2)",
		SQL_ARGS(arg_text(merge->connection), arg_int4(on ? BATCH_MS + steep_lock_timeout : 0)));
	requester_commit();
}

/* One batch; false when it was the step's last one. */
static bool
write_batch(JobRun *run, const Step *step)
{
	MergeRun *merge = run->merge;
	Batch batch;
	bool is_last;
	bool is_written;

	bound_peer(run, true);
	requester_begin();
	set_origin(run, true);
	merge_table_check(step->table, step->action);
	if (step->is_alone)
		commit_without_waiting();
	is_written = ask_for_batch(run, step, batch);
	is_last = batch[BATCH_IS_LAST][0] == 't';
	if (is_written)
		merge_keep_batch(run, step->table, batch);
	if (strcmp(batch[BATCH_REFUSED], "{}") != 0)
		merge_keep_refused(run, step->table, batch);
	merge->is_in_doubt = merge->is_in_doubt || merge_is_at_peer(batch);
	requester_commit();
	set_origin(run, false);

	merge->n_changed += atoll(batch[BATCH_N_CHANGED]);
	merge->rows_done += atoll(batch[BATCH_N_CHANGED]) + atoll(batch[BATCH_N_WRITTEN]);
	rows_progress_set(run->job, merge->rows_done, merge->rows_to_write);
	if (batch[BATCH_WHY] != NULL)
		ereport(LOG, (errmsg("steep_repl: %s puts rows of %s off: %s", run->job->object_id,
							 step->table->name, batch[BATCH_WHY])));
	if (is_written && !merge->dry_run && !step->is_alone &&
		strcmp(batch[BATCH_ACTION], "manual") != 0)
		is_last = end_peer_transaction(run, step->no, batch) && is_last;
	bound_peer(run, false);
	free_batch(batch);
	return !is_last;
}

/* A step, before any row of it is written: what it says then is what is written down. */
static Step
find_step(JobRun *run, int no)
{
	Step step = {.no = no};
	char *found[2];

	requester_begin();
	requester_select(run, found, 2, "select * from steep_repl._merge_step($1)",
					 SQL_ARGS(arg_int4(no)));
	requester_commit();
	if (found[0] == NULL || found[1] == NULL)
		elog(ERROR, "step %d of the merge has no table", no);
	step.table = merge_table(run, atoi(found[0]));
	step.action = found[1];
	step.is_here = strstr(step.action, "_local") != NULL;
	/* else rows have to stay as they were read on both sides until the batch is committed */
	step.reads_ahead = !run->merge->replicates && run->merge->undoes == NULL;
	step.is_alone = step.reads_ahead && step.is_here;
	return step;
}

/* Write the rows of one table that one thing is to be done with. */
void
merge_write(JobRun *run, Jsonb *action)
{
	int next = run->merge->n_written + 1;
	Step step;

	/* 0, which no action has: there is no step any more */
	action_check_number(action_int(action, "no", 0), next <= run->merge->n_steps ? next : 0);
	step = find_step(run, next);
	run_show_table(run, step.table->name);
	rows_progress_set(run->job, run->merge->rows_done, run->merge->rows_to_write);
	do
	{
		worker_check_cancel(run->job);
		run_tick(run);
	} while (write_batch(run, &step));

	merge_report(run, step.no);
}
