/*
 * copier.c
 *	  A copy worker: takes chunks of tables, streams their rows as COPY
 *	  text through the compressor and appends the frames to the table's data file.
 *
 * Several copiers write one file: each reserves the space for a frame with the
 * table's shared counter and writes it there. Each frame can be decompressed
 * by itself, so their order does not matter; only the terminator comes last.
 */
#include "postgres.h"

#include "access/xact.h"
#include "snapshot/data_file.h"
#include "files/directory.h"
#include "files/frame_log.h"
#include "frames/frame_pipeline.h"
#include "miscadmin.h"
#include "snapshot/large_object.h"
#include "snapshot/plan.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "snapshot/table_rows.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "jobs/worker.h"

/* COPY text in one frame; a row is never divided. */
#define FRAME_BYTES (8 * 1024 * 1024)

/* How much COPY text between two updates of the shared counters. */
#define REPORT_BYTES (256 * 1024)

/* A table of at most this size is made durable together with others. */
#define SMALL_TABLE_BYTES (1024 * 1024)

/* What pg_dump writes at the end of a table's data. */
static const char terminator[] = "\\.\n\n\n";

/* The state of this worker. */
typedef struct Copier
{
	SteepJob *job;
	SnapshotPlan *plan;
	int number;
	int dirfd;
	FramePipeline *pipeline;
	FrameLog *log;

	uint32 *unsynced; /* tables whose files are not durable yet */
	uint32 n_unsynced;

	PlanChunk chunk;
	DataFile file;
	bool terminating;  /* what is written is the file's end */
	uint64 chunk_raw;  /* COPY text of the chunk so far */
	uint64 unreported; /* of it, not yet in the shared counters */
	uint64 credited;   /* of the chunk's bytes, in bytes_done */
} Copier;

static Copier copier;

/* Move the shared counters; the chunk counts for at most its size on disk. */
static void
report_progress(uint64 credit)
{
	JobCounters *counters = &copier.job->counters;

	credit = Min(credit, copier.chunk.bytes);
	pg_atomic_fetch_add_u64(&counters->raw_bytes, copier.unreported);
	copier.unreported = 0;
	if (credit > copier.credited)
	{
		pg_atomic_fetch_add_u64(&counters->bytes_done, credit - copier.credited);
		copier.credited = credit;
	}
}

/* Append a frame to the file. */
static void
write_frame(const Frame *frame)
{
	PlanTable *table = &copier.plan->tables[copier.chunk.table];
	FrameRecord record = {0};

	record.table = copier.chunk.table;
	record.object = copier.file.object;
	record.offset = OidIsValid(copier.file.object)
						? copier.file.end
						: pg_atomic_fetch_add_u64(&table->file_end, frame->stored_bytes);
	copier.file.end = record.offset + frame->stored_bytes;
	copier.file.has_frame = true;
	record.rows = frame->rows;
	record.raw_bytes = frame->raw_bytes;
	record.stored_bytes = frame->stored_bytes;
	record.first_block = copier.chunk.first_block;
	record.end_block = copier.terminating || table->chunks == 1
						   ? InvalidBlockNumber
						   : Min(copier.chunk.end_block, table->blocks);
	memcpy(record.sha256, frame->sha256, DIGEST_BYTES);
	data_file_write(&copier.file, frame->data, frame->stored_bytes, record.offset);
	frame_log_add(copier.log, &record);

	pg_atomic_fetch_add_u64(&copier.job->counters.stored_bytes, frame->stored_bytes);
	pg_atomic_fetch_add_u64(&copier.job->counters.rows, frame->rows);
}

/* So many bytes were added to the frame. */
static void
count_bytes(size_t len)
{
	copier.chunk_raw += len;
	copier.unreported += len;
	if (copier.unreported >= REPORT_BYTES)
		report_progress(copier.chunk_raw);
	if (frame_writer_raw_bytes(frame_pipeline_writer(copier.pipeline)) >= FRAME_BYTES)
		frame_pipeline_end_frame(copier.pipeline);
}

static void
add_row(const char *line, size_t len)
{
	frame_writer_add_row(frame_pipeline_writer(copier.pipeline), line, len);
	count_bytes(len);
}

/* Bytes of a large object; what they are read in divides a frame. */
static void
add_bytes(const char *bytes, size_t len)
{
	frame_writer_append(frame_pipeline_writer(copier.pipeline), bytes, len);
	count_bytes(len);
}

/* A damaged page or an oversized row does not say whose it is. */
static void
name_table(void *arg)
{
	const PlanTable *table = &copier.plan->tables[copier.chunk.table];

	if (OidIsValid(copier.file.object))
		errcontext("copying large object %u", copier.file.object);
	else
		errcontext("copying table %s", plan_string(copier.plan, table->qualified_name));
}

/* Copy a batch of large objects, each into a file of its own. */
static void
copy_objects(const PlanTable *batch)
{
	for (uint32 i = 0; i < batch->n_objects; i++)
	{
		worker_check_cancel(copier.job);
		data_file_make_object(&copier.file, copier.dirfd, copier.plan, copier.chunk.table,
							  plan_batch(copier.plan, batch)[i]);
		large_object_copy(&copier.file, copier.pipeline, add_bytes);
	}
	copier.file.object = InvalidOid;
}

/* In a transaction of its own, so that locks stay few. */
static void
copy_rows(void)
{
	ErrorContextCallback context = {.callback = name_table, .previous = error_context_stack};

	const PlanTable *table = &copier.plan->tables[copier.chunk.table];

	error_context_stack = &context;
	worker_begin_with_snapshot(copier.job->snapshot_name);
	if (table->n_objects > 0)
		copy_objects(table);
	else if (table->condition != 0)
		table_rows_select(copier.plan, table, add_row);
	else
		table_rows_read(copier.plan, &copier.chunk, add_row);
	PopActiveSnapshot();
	CommitTransactionCommand();
	error_context_stack = context.previous;
}

/* The files of large tables are made durable at once, those of small ones together. */
static void
sync_table(void)
{
	JobCounters *counters = &copier.job->counters;

	if (copier.chunk.bytes <= SMALL_TABLE_BYTES)
	{
		pg_flush_data(copier.file.fd, 0, 0);
		copier.unsynced[copier.n_unsynced++] = copier.chunk.table;
		return;
	}
	data_file_sync(&copier.file);
	pg_atomic_fetch_add_u32(&counters->tables_durable, 1);
}

/* The last chunk of a table is written: end the file. */
static void
finish_table(void)
{
	copier.terminating = true;
	frame_writer_append(frame_pipeline_writer(copier.pipeline), terminator, strlen(terminator));
	frame_pipeline_drain(copier.pipeline);
	copier.terminating = false;
	sync_table();
	pg_atomic_fetch_add_u32(&copier.job->counters.tables_done, 1);
}

static void
copy_chunk(void)
{
	const PlanTable *table = &copier.plan->tables[copier.chunk.table];

	job_show_table(copier.job, plan_string(copier.plan, table->qualified_name));
	copier.chunk_raw = 0;
	copier.credited = 0;
	frame_pipeline_keep_order(copier.pipeline, table->n_objects > 0);
	if (table->n_objects > 0)
	{
		copy_rows();
		report_progress(copier.chunk.bytes);
		copier.unsynced[copier.n_unsynced++] = copier.chunk.table;
		return;
	}
	data_file_open(&copier.file, copier.dirfd, copier.plan, copier.chunk.table);
	copy_rows();
	frame_pipeline_drain(copier.pipeline);
	report_progress(copier.chunk.bytes);
	if (plan_chunk_done(copier.plan, &copier.chunk))
		finish_table();
	data_file_close(&copier.file);
}

static int
n_workers(void)
{
	return job_n_copiers(copier.job);
}

static void
run_copier(SteepJob *job)
{
	DirectoryMark mark = {.operation_id = job->id, .database = job->database};
	PGPROC *holder = GetPGProcByNumber(job->holder_procno);

	strlcpy(mark.token, job->token, sizeof(mark.token));
	if (!BecomeLockGroupMember(holder, job->holder_pid))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the worker that holds the snapshot has ended")));
	/* For those that are selected from: no view or foreign table may have taken their place. */
	SetConfigOption("restrict_nonsystem_relation_kind", "view, foreign-table", PGC_SUSET,
					PGC_S_OVERRIDE);
	SetConfigOption("steep_repl.trusted_code_only", "on", PGC_USERSET, PGC_S_OVERRIDE);
	/* Times are then written quickest, and the same rows in the same way everywhere. */
	SetConfigOption("TimeZone", "UTC", PGC_USERSET, PGC_S_OVERRIDE);

	copier.plan = plan_attach(job->plan);
	copier.dirfd = directory_open_marked(job->path, &mark);
	copier.unsynced =
		palloc_extended((copier.plan->n_tables + 1) * sizeof(uint32), MCXT_ALLOC_HUGE);
	copier.log = frame_log_create(copier.dirfd, copier.number);
	copier.pipeline =
		frame_pipeline_create(n_workers, copier.plan->codec, copier.plan->level, write_frame);
	while (plan_next_chunk(copier.plan, &copier.chunk))
	{
		worker_check_cancel(job);
		copy_chunk();
	}
	data_files_sync(job, copier.dirfd, copier.plan, copier.unsynced, copier.n_unsynced);
	frame_pipeline_destroy(copier.pipeline);
	frame_log_close(copier.log);
}

void
steep_repl_copier_main(Datum arg)
{
	copier.job = worker_start("copier");
	copier.number = worker_number();
	SetConfigOption("application_name",
					psprintf("steep_repl %s copy %d", copier.job->object_id, copier.number + 1),
					PGC_SUSET, PGC_S_OVERRIDE);
	worker_run_helper(copier.job, run_copier);
}
