/*
 * fetch_actions.c
 *	  The actions of a job that fetches a snapshot from a peer, as plv8/fetch/fetch.ts
 *	  orders them.
 */
#include "fetch/fetch_plan.h"

#include "base/settings.h"
#include "files/directory.h"
#include "jobs/job_directory.h"
#include "jobs/requester.h"
#include "utils/wait_event.h"

static uint32 wait_event_fetch = 0;

/* Connect, and find the snapshot there. */
static void
find_snapshot(JobRun *run, char *snapshot)
{
	FetchRun *fetch = MemoryContextAllocZero(run->context, sizeof(FetchRun));
	char *opened[3];

	requester_begin();
	fetch->connection = requester_open_peer(run);
	requester_texts(run, opened, 3, "select * from steep_repl._fetch_open($1, $2)",
					SQL_ARGS(arg_text(fetch->connection), arg_text(snapshot)));
	requester_commit();
	if (strlen(opened[0]) >= MAXPGPATH ||
		!digest_from_hex(opened[2], strlen(opened[2]), fetch->manifest_sha256))
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
						errmsg("peer: it does not say where the snapshot is")));
	fetch->path = opened[0];
	fetch->manifest_bytes = strtou64(opened[1], NULL, 10);
	run->fetch = fetch;
}

/* A job that goes on waits for its peer, which may have gone down with this server; one that begins does not. */
static void
open_peer(JobRun *run, Jsonb *action)
{
	DirectoryMark mark = job_directory_mark(run->job);
	char *snapshot = action_text(action, "snapshot");
	bool goes_on = directory_bytes(run->job->path, &mark) >= 0;
	int n_losses = 0;

	run->fetch = NULL;
	while (run->fetch == NULL)
	{
		PG_TRY();
		{
			find_snapshot(run, snapshot);
		}
		PG_CATCH();
		{
			if (!goes_on)
				PG_RE_THROW();
			fetch_survive_loss(run->job, &n_losses, run->context);
		}
		PG_END_TRY();
	}
}

static void
make_directory(JobRun *run, Jsonb *action)
{
	run->fetch->has_files = job_directory_make(run, action_text(action, "path"));
}

static uint64
sum_of_bytes(const Manifest *manifest)
{
	uint64 sum = 0;

	for (int i = 0; i < manifest->nfiles; i++)
		sum += manifest->files[i].stored_bytes;
	return sum;
}

static uint32
count_tables(FetchPlan *plan)
{
	uint32 n = 0;

	for (uint32 i = 0; i < plan->n_files; i++)
		n += fetch_files(plan)[i].table[0] != '\0';
	return n;
}

static void
check_all_is_here(JobRun *run)
{
	FetchPlan *plan = run->fetch->plan;

	if (pg_atomic_read_u32(&plan->batches_done) != plan->n_batches)
		ereport(ERROR, (errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("a fetch worker was terminated"),
						errhint("Go on with: select steep_repl.retry_operation(" INT64_FORMAT ").",
								run->job->id)));
}

/* Have workers fetch what is not here yet. */
static void
get_files(JobRun *run, Jsonb *action)
{
	SteepJob *job = run->job;
	int parallel = Min(action_int(action, "parallel", 1), steep_max_parallel_workers);

	if (wait_event_fetch == 0)
		wait_event_fetch = WaitEventExtensionNew("SteepReplWaitForFetchers");
	fetch_make_plan(run);
	fetch_make_files(run);
	fetch_rate_init(&run->fetch->plan->rate, action_int(action, "kilobytes_per_second", 0));
	pg_atomic_write_u64(&job->counters.bytes_total, sum_of_bytes(run->fetch->manifest));
	pg_atomic_write_u32(&job->counters.tables_total, count_tables(run->fetch->plan));
	job_begin_data(job);
	helpers_start_workers(run, WORKER_FETCHER, Max(parallel, 1));
	while (!helpers_copiers_are_done(run))
		run_wait(run, wait_event_fetch);
	helpers_check(run);
	check_all_is_here(run);
}

/* All is here and right: what makes the directory a snapshot comes last. */
static void
finish(JobRun *run, Jsonb *action)
{
	pg_atomic_write_u64(&run->job->counters.rows, run->fetch->manifest->rows);
	worker_check_cancel(run->job);
	directory_commit_file(run->dirfd, UNFINISHED_MANIFEST, MANIFEST_FILE);
	record_progress(run, true);
}

static const Action actions[] = {
	{"open_peer", "planning", {ACTION_START}, open_peer, {{"snapshot", MEMBER_TEXT}}},
	{"make_directory", "planning", {"open_peer"}, make_directory, {{"path", MEMBER_TEXT}}},
	{"fetch_manifest", "planning", {"make_directory"}, fetch_get_manifest},
	{"fetch_files",
	 "data",
	 {"fetch_manifest"},
	 get_files,
	 {{"parallel", MEMBER_COUNT}, {"kilobytes_per_second", MEMBER_INTEGER, true}}},
	{"finish", "finalizing", {"fetch_files"}, finish},
	{"complete", "complete", {"finish"}},
};

const ActionTable fetch_actions = {
	.operation = "snapshot_fetch",
	.is_resumed = true,
	.actions = actions,
	.n = lengthof(actions),
	.keeps_files = true,
};
