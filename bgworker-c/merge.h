/*
 * merge.h
 *	  What the parts of a merge job share.
 */
#ifndef STEEP_MERGE_H
#define STEEP_MERGE_H

#include "coordinator.h"

struct MergeRun
{
	char *connection; /* of dblink, to the peer */
	bool dry_run;
	const char *undoes; /* of an undo: the merge that is taken back */
	bool replicates;    /* one side replicates to the other */
	int n_tables;
	int n_steps;
	int rounds;
	int64 n_changed;  /* rows of this round that have to be compared again */
	int64 batch;      /* the last one that was written down */
	bool is_in_doubt; /* whether the peer commits that one */
};

/* merge_write.c */
extern void merge_write(JobRun *run, Jsonb *action);

/* merge_intents.c: batches at the peer of which it is not known whether they were committed */
extern void merge_settle_intents(JobRun *run, const char *merge_id);
extern void merge_forget_intents(JobRun *run);
extern void merge_take_back(const char *merge_id, int64 batch);

#endif /* STEEP_MERGE_H */
