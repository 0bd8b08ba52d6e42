/*
 * apply_marks.c
 *	  What an apply has done. A mark is written in the transaction that does
 *	  the work, so that after a crash both are there or neither.
 */
#include "apply/apply.h"

#include "access/xact.h"
#include "jobs/owner.h"
#include "replication/origin.h"
#include "base/compat.h"

/* The marks of an operation, in CurrentMemoryContext. Inside a transaction. */
HTAB *
apply_marks_read(int64 operation_id)
{
	HASHCTL ctl = {.keysize = sizeof(ApplyMark), .entrysize = sizeof(ApplyMark)};
	HTAB *marks;
	OwnerSession session;

	ctl.hcxt = CurrentMemoryContext;
	marks = hash_create("steep_repl apply marks", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	owner_begin(&session);
	owner_execute("select dump_id, part from steep_repl._apply_done where operation_id = $1",
				  SQL_ARGS(arg_int8(operation_id)));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		ApplyMark mark = {0};

		mark.dump_id = DatumGetInt32(owner_value(i, 1, &isnull));
		mark.part = DatumGetInt64(owner_value(i, 2, &isnull));
		hash_search(marks, &mark, HASH_ENTER, NULL);
	}
	owner_end(&session);
	return marks;
}

bool
apply_marks_have(HTAB *marks, int dump_id, int64 part)
{
	ApplyMark mark = {.part = part, .dump_id = dump_id};

	return hash_search(marks, &mark, HASH_FIND, NULL) != NULL;
}

/* Note an item as done, in the transaction at hand. */
void
apply_marks_add(int64 operation_id, int dump_id, int64 part)
{
	ReplOriginId origin = transaction_origin;
	OwnerSession session;

	/* Our own rows are of no use to other nodes, whatever the item's are. */
	transaction_origin = DoNotReplicateId;
	owner_begin(&session);
	owner_execute(
		"insert into steep_repl._apply_done (operation_id, dump_id, part) values ($1, $2, $3)",
		SQL_ARGS(arg_int8(operation_id), arg_int4(dump_id), arg_int8(part)));
	owner_end(&session);
	transaction_origin = origin;
}

/* Forget what is marked of an entry; in the transaction at hand. */
void
apply_marks_remove(HTAB *marks, int64 operation_id, int dump_id)
{
	HASH_SEQ_STATUS all;
	ApplyMark *mark;
	OwnerSession session;

	hash_seq_init(&all, marks);
	while ((mark = hash_seq_search(&all)) != NULL)
		if (mark->dump_id == dump_id)
			hash_search(marks, mark, HASH_REMOVE, NULL);
	owner_begin(&session);
	owner_execute("delete from steep_repl._apply_done where operation_id = $1 and dump_id = $2",
				  SQL_ARGS(arg_int8(operation_id), arg_int4(dump_id)));
	owner_end(&session);
}

/*
 * An attempt that goes on must find the archive that the first one began with:
 * its marks mean nothing in another one. Inside a transaction.
 */
void
apply_check_same_archive(JobRun *run)
{
	ApplyRun *apply = run->apply;
	int64 digest;

	memcpy(&digest, apply->manifest->sha256, sizeof(digest));
	if (apply_marks_have(apply->done, MARK_ARCHIVE, digest))
		return;
	if (hash_get_num_entries(apply->done) > 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the snapshot in \"%s\" is not the one that this job began to apply",
					apply->path),
			 errhint("Put that snapshot back, or start a new job with steep_repl.start_apply().")));
	apply_marks_add(run->job->id, MARK_ARCHIVE, digest);
}
