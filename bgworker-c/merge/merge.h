/*
 * merge.h
 *	  What the parts of a merge job share.
 */
#ifndef STEEP_MERGE_H
#define STEEP_MERGE_H

#include "jobs/origin.h"
#include "jobs/run.h"

/* A table, as it was when the merge was planned. */
typedef struct MergeTable
{
	char *name; /* schema.table, quoted */
	char *key;  /* columns that identify a row, as an array's text */
	Oid relid;  /* 0 in a session, which settles one conflict */
} MergeTable;

struct MergeRun
{
	char *connection; /* to the peer, by its name */
	bool dry_run;
	const char *undoes;  /* of an undo: the merge that is taken back */
	bool replicates;     /* one side replicates to the other */
	ReplOriginId origin; /* of rows that are written here then */
	bool discards;       /* what waits to be replicated is thrown away */
	bool has_discarded;
	int n_tables;
	MergeTable *tables;
	int n_compared;
	int n_steps;
	int n_written; /* steps of this round */
	int rounds;
	uint64 rows_to_write; /* of the first round, by which progress is counted */
	uint64 rows_done;
	int64 n_changed;  /* rows of this round that have to be compared again */
	int64 batch;      /* the last one that was written down */
	char *ahead;      /* what was read here for the next batch, that the peer will write */
	bool is_in_doubt; /* whether the peer commits that one */
};

/* What a batch was and did, as text: steep_repl._merge_written. */
typedef enum BatchField
{
	BATCH_ACTION,
	BATCH_HERE,
	BATCH_THERE,
	BATCH_NUMBERS,
	BATCH_N_WRITTEN,
	BATCH_N_CHANGED,
	BATCH_PEER_XID,
	BATCH_IS_LAST,
	BATCH_WHY,
	BATCH_REFUSED,
	BATCH_AHEAD,
	BATCH_RESULT,
	N_BATCH_FIELDS
} BatchField;

typedef char *Batch[N_BATCH_FIELDS];

/* merge_open.c */
extern void merge_open_peer(JobRun *run, Jsonb *action);
extern void merge_begin(JobRun *run, Jsonb *action);

/* merge_tables.c */
extern void merge_tables_keep(JobRun *run, int n_tables, char *names_text, char *keys_text);
extern const MergeTable *merge_table(JobRun *run, int no);
extern void merge_table_check(const MergeTable *table, const char *action);

/* merge_actions.c */
extern void merge_expect_compare(JobRun *run);
extern void merge_report(JobRun *run, int written);

/* merge_close.c */
extern void merge_close_peer(JobRun *run, Jsonb *action);
extern void merge_give_up(JobRun *run);
extern void merge_ask_for_warnings(JobRun *run, const char *query);

/* merge_left.c */
extern void merge_note_left(JobRun *run, Jsonb *action);

/* merge_write.c */
extern void merge_check_batch(char **batch);
extern void merge_write(JobRun *run, Jsonb *action);

/* merge_keep.c */
extern bool merge_is_at_peer(char **batch);
extern void merge_keep_batch(JobRun *run, const MergeTable *table, char **batch);
extern void merge_keep_refused(JobRun *run, const MergeTable *table, char **batch);

/* merge_audit.c */
extern void merge_keep_audit(const char *merge_id, int64 number, const char *role,
							 const MergeTable *table, char **batch);

/* merge_intents.c: batches at the peer of which it is not known whether they were committed */
extern void merge_settle_intents(JobRun *run, const char *merge_id);
extern void merge_forget_intents(JobRun *run);
extern void merge_take_back(const char *merge_id, int64 batch);

#endif /* STEEP_MERGE_H */
