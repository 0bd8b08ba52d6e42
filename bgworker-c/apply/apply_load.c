/*
 * apply_load.c
 *	  Loads frames of a table's data into the table: decompressor into COPY.
 *
 * A frame is loaded as a whole or, by the caller's transaction, not at all.
 */
#include "apply/apply_load.h"

#include "access/table.h"
#include "apply/apply.h"
#include "apply/apply_partitions.h"
#include "commands/copyfrom_internal.h"
#include "text/copy_rows.h"
#include "apply/frame_reader.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "text/row_copy.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/* The state of this worker; COPY's callback has no argument to pass it in. */
static struct
{
	SteepJob *job;
	ApplyPlan *plan;
	int dirfd;
	char file[64];      /* that holds the item's frames */
	const char *table;  /* of the item at hand, for messages */
	uint64 raw_bytes;   /* that its frames should have */
	uint64 rows;        /* likewise */
	uint64 produced;    /* raw bytes so far */
	bool triggers;      /* that may leave rows out */
	bool moves;         /* rows are loaded through the root, as they fit no more where they were */
	CopyFromState copy; /* while it runs */
} loader;

static int
n_workers(void)
{
	return job_n_copiers(loader.job);
}

/* Prepare this worker; what it makes lives in CurrentMemoryContext. */
void
apply_load_init(SteepJob *job, ApplyPlan *plan, int dirfd)
{
	loader.job = job;
	loader.plan = plan;
	loader.dirfd = dirfd;
	frame_reader_init(n_workers, plan->codec);
}

/* Decompressed bytes; more than the manifest says is a bomb, not data. */
static size_t
produce(void *buf, size_t len)
{
	size_t got = frame_reader_read(buf, len);

	loader.produced += got;
	if (loader.produced > loader.raw_bytes)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("snapshot file \"%s\" holds more data than the manifest says",
							   loader.file)));
	pg_atomic_fetch_add_u64(&loader.job->counters.raw_bytes, got);
	pg_atomic_fetch_add_u64(&loader.job->counters.bytes_done, got);
	return got;
}

/* COPY asks for input: as much as there is, since it takes less for the end. */
static int
provide_input(void *outbuf, int minread, int maxread)
{
	return (int) produce(outbuf, maxread);
}

/* What the item's frames should hold, by the manifest. */
static void
begin_frames(const ApplyItem *item)
{
	const ApplyFrame *frames = plan_frames(loader.plan) + item->first_frame;
	const ApplyTable *table = &plan_tables(loader.plan)[item->table];

	loader.raw_bytes = loader.rows = loader.produced = 0;
	for (uint32 i = 0; i < item->n_frames; i++)
	{
		loader.raw_bytes += frames[i].raw_bytes;
		loader.rows += frames[i].rows;
	}
	snprintf(loader.file, sizeof(loader.file), "%d.dat%s", table->dump_id,
			 codec_suffix(loader.plan->codec));
	frame_reader_begin(loader.dirfd, loader.file, table->stored_bytes, frames, item->n_frames,
					   loader.raw_bytes);
}

/*
 * The archive's COPY statement; nothing but a plain COPY of that table will do.
 * Which root the rows go through is the target's to say.
 */
static CopyStmt *
parse_copy(const TocEntry *entry)
{
	List *parsed = pg_parse_query(entry->copy_stmt);
	CopyStmt *copy = NULL;

	if (list_length(parsed) == 1 && IsA(linitial_node(RawStmt, parsed)->stmt, CopyStmt))
		copy = castNode(CopyStmt, linitial_node(RawStmt, parsed)->stmt);
	if (copy == NULL || !copy->is_from || copy->is_program || copy->filename != NULL ||
		copy->relation == NULL || copy->relation->schemaname == NULL || copy->options != NIL ||
		copy->whereClause != NULL || copy->relation->catalogname != NULL ||
		(!toc_loads_via_root(entry) && (strcmp(copy->relation->schemaname, entry->schema) != 0 ||
										strcmp(copy->relation->relname, entry->tag) != 0)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the archive's statement for the data of %s is not what pg_dump writes",
						quote_qualified_identifier(entry->schema, entry->tag)),
				 errdetail("Statement: %s", entry->copy_stmt)));
	return copy;
}

/* Read what COPY left unread: only then are all digests known to be right. */
static void
drain(void)
{
	char rest[8192];

	while (produce(rest, sizeof(rest)) > 0)
		;
}

static void
check_totals(uint64 rows)
{
	if (loader.triggers && rows < loader.rows && loader.produced == loader.raw_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("triggers left out rows of table %s", loader.table),
				 errdetail(UINT64_FORMAT " of " UINT64_FORMAT " rows would have been loaded.", rows,
						   loader.rows)));
	if (rows != loader.rows || loader.produced != loader.raw_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("snapshot file \"%s\" does not hold what the manifest says", loader.file),
				 errdetail(UINT64_FORMAT " rows in " UINT64_FORMAT
										 " bytes were found, and not " UINT64_FORMAT
										 " rows in " UINT64_FORMAT " bytes.",
						   rows, loader.produced, loader.rows, loader.raw_bytes)));
}

/*
 * COPY's own context says line and column, but neither schema nor frame. It
 * reads ahead, so the line tells the frame: each row is one.
 */
static void
name_frame(void *arg)
{
	const ApplyItem *item = arg;
	const ApplyFrame *frame = plan_frames(loader.plan) + item->first_frame;
	const ApplyFrame *last = frame + item->n_frames - 1;
	uint64 line = loader.copy == NULL ? 0 : loader.copy->cur_lineno;

	while (frame < last && line > frame->rows)
		line -= frame++->rows;
	errcontext("loading table %s, line " UINT64_FORMAT " of the frame at offset " UINT64_FORMAT
			   " of file \"%s\"",
			   loader.table, line, frame->offset, loader.file);
}

/*
 * COPY takes text of SQL_ASCII as it is, even where that is no valid text in
 * the database's encoding. As that encoding it is validated.
 */
static const char *
data_encoding(void)
{
	return loader.plan->encoding == PG_SQL_ASCII ? GetDatabaseEncodingName()
												 : pg_encoding_to_char(loader.plan->encoding);
}

/* The table to copy into: the partition root where rows have to find their place by themselves. */
static Relation
open_target(const ApplyItem *item, const TocEntry *entry)
{
	Relation rel = partition_open_target(makeRangeVar(entry->schema, entry->tag, -1),
										 loader.moves || toc_loads_via_root(entry));

	if (loader.moves && partition_tree_is_unlogged(RelationGetRelid(rel)))
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg(
				 "rows of table %s belong into other partitions here, some of which may be unlogged",
				 loader.table),
			 errdetail("After a crash, it could not be told which of them were lost."),
			 errhint("Make the partitions LOGGED until they are loaded.")));
	return rel;
}

static uint64
copy_from(const ApplyItem *item, const TocEntry *entry)
{
	CopyStmt *copy = parse_copy(entry);
	Relation rel = open_target(item, entry);
	ParseState *pstate = row_copy_rights(rel, copy->attlist);
	List *options =
		list_make1(makeDefElem("encoding", (Node *) makeString(pstrdup(data_encoding())), -1));
	uint64 rows;

	loader.copy =
		BeginCopyFrom(pstate, rel, NULL, NULL, false, provide_input, copy->attlist, options);
	copy_rows_begin(loader.copy, produce, loader.raw_bytes);
	/* partitions may have triggers of their own */
	loader.triggers = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
					  (rel->trigdesc != NULL && rel->trigdesc->trig_insert_before_row);
	rows = CopyFrom(loader.copy);
	EndCopyFrom(loader.copy);
	loader.copy = NULL;
	free_parsestate(pstate);
	table_close(rel, NoLock);
	return rows;
}

/* Load an item's frames, in the caller's transaction. */
void
apply_load_item(const ApplyItem *item, const TocEntry *entry)
{
	ErrorContextCallback context = {.callback = name_frame,
									.arg = unconstify(ApplyItem *, item),
									.previous = error_context_stack};
	uint64 rows;

	if (item->n_objects > 0)
	{
		apply_load_objects(loader.job, loader.plan, loader.dirfd, item);
		return;
	}
	loader.copy = NULL;
	loader.table = quote_qualified_identifier(entry->schema, entry->tag);
	loader.moves = pg_atomic_read_u32(&plan_tables(loader.plan)[item->table].moves) != 0;
	begin_frames(item);
	error_context_stack = &context;
	rows = copy_from(item, entry);
	drain();
	check_totals(rows);
	error_context_stack = context.previous;
}

/*
 * Whether a load that failed may succeed in another way: rows that do not fit
 * the partition that they had may fit another one, so its table is from now on
 * loaded through the root.
 */
bool
apply_load_may_move(const ApplyItem *item, const char *table, const ErrorData *error)
{
	if (item->n_objects > 0 || loader.moves || !partition_is_violated(error))
		return false;
	if (pg_atomic_exchange_u32(&plan_tables(loader.plan)[item->table].moves, 1) == 0)
		ereport(LOG, (errmsg("steep_repl: %s loads table %s through its partition root: %s",
							 loader.job->object_id, table, error->message)));
	return true;
}
