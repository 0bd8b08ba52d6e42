/*
 * merge_left.c
 *	  Rows that a merge or an undo has left as they were: how many, and which.
 */
#include "merge/merge.h"

#include "jobs/owner.h"
#include "jobs/requester.h"

/* Which rows were left, some at a time; false after the last ones. */
static bool
list_left(JobRun *run, int64 *last)
{
	OwnerSession session;
	char *found[2];
	bool is_over;

	requester_begin();
	requester_texts(run, found, 2, "select * from steep_repl._merge_list_left($1)",
					SQL_ARGS(arg_int8(*last)));
	requester_commit();
	*last = pg_strtoint64(found[0]);
	is_over = strcmp(found[1], "[]") == 0;
	if (!is_over)
	{
		owner_begin_transaction(&session);
		owner_execute("select steep_repl._merge_keep_left($1, $2::jsonb)",
					  SQL_ARGS(arg_text(run->job->object_id), arg_text(found[1])));
		owner_commit_transaction(&session);
	}
	pfree(found[0]);
	pfree(found[1]);
	return !is_over;
}

/* Count what was left, and list it. */
void
merge_note_left(JobRun *run, Jsonb *action)
{
	OwnerSession session;
	int64 last = 0;
	char *left;

	requester_begin();
	left = requester_text(run, "select steep_repl._merge_find_left($1)",
						  SQL_ARGS(arg_text(run->merge->undoes)));
	requester_commit();
	owner_begin_transaction(&session);
	owner_execute("select steep_repl._merge_keep_rows_left($1, $2::jsonb)",
				  SQL_ARGS(arg_text(run->job->object_id), arg_text(left)));
	owner_commit_transaction(&session);
	while (list_left(run, &last))
		worker_check_cancel(run->job);
}
