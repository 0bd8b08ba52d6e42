/*
 * progress.c
 *	  How far a job is, by what its workers left in shared memory.
 */
#include "jobs/progress.h"

#include "utils/timestamp.h"

/* From where to where a phase goes, in percent of the job. */
typedef struct PhaseShare
{
	const char *phase;
	double from;
	double to;
} PhaseShare;

static const PhaseShare snapshot_phases[] = {
	{"schema", 1, 2}, {"data", 2, 98}, {"finalizing", 98, 98}, {"complete", 100, 100}};

static const PhaseShare apply_phases[] = {
	{"planning", 0, 0},  {"schema", 2, 5},        {"data", 5, 70},       {"sequences", 70, 70},
	{"indexes", 70, 97}, {"finalizing", 97, 100}, {"complete", 100, 100}};

static const PhaseShare overlap_phases[] = {
	{"planning", 0, 1}, {"comparing", 1, 99}, {"finalizing", 99, 99}, {"complete", 100, 100}};

static const PhaseShare merge_phases[] = {{"planning", 0, 1},
										  {"comparing", 1, 40},
										  {"merging", 40, 98},
										  {"finalizing", 98, 100},
										  {"complete", 100, 100}};

static const PhaseShare pair_phases[] = {
	{"planning", 0, 2},    {"publishing", 2, 3},    {"snapshot", 3, 30},   {"fetching", 30, 50},
	{"loading", 50, 85},   {"subscribing", 85, 86}, {"merging", 86, 90},   {"sequences", 90, 91},
	{"comparing", 91, 99}, {"finalizing", 99, 100}, {"complete", 100, 100}};
static const PhaseShare fetch_phases[] = {
	{"planning", 0, 1}, {"data", 1, 99}, {"finalizing", 99, 99}, {"complete", 100, 100}};

static const struct
{
	const PhaseShare *shares;
	size_t n;
} phases[] = {
	[JOB_SNAPSHOT] = {snapshot_phases, lengthof(snapshot_phases)},
	[JOB_APPLY] = {apply_phases, lengthof(apply_phases)},
	[JOB_OVERLAP] = {overlap_phases, lengthof(overlap_phases)},
	[JOB_MERGE] = {merge_phases, lengthof(merge_phases)},
	[JOB_PAIR] = {pair_phases, lengthof(pair_phases)},
	[JOB_FETCH] = {fetch_phases, lengthof(fetch_phases)},
};

static double
overall_percent(JobKind kind, const char *phase, double fraction)
{
	const PhaseShare *shares = phases[kind].shares;

	for (size_t i = 0; i < phases[kind].n; i++)
		if (strcmp(shares[i].phase, phase) == 0)
			return shares[i].from + (shares[i].to - shares[i].from) * fraction;
	return 0;
}

static double
seconds_since(TimestampTz when)
{
	return when == 0 ? 0 : TimestampDifferenceMilliseconds(when, GetCurrentTimestamp()) / 1000.0;
}

/* How long the rest of a phase takes, if it goes on as it has begun. */
static int64
eta(double seconds, double fraction)
{
	return fraction > 0 && fraction <= 1 ? (int64) (seconds * (1 - fraction) / fraction + 0.5) : -1;
}

/* A consistent copy of a job's progress. */
void
progress_read(SteepJob *job, JobProgress *progress)
{
	JobCounters *counters = &job->counters;
	TimestampTz started;
	TimestampTz phase_started;
	uint64 items;
	uint64 items_done;
	uint64 total = pg_atomic_read_u64(&counters->bytes_total);
	uint64 done = Min(pg_atomic_read_u64(&counters->bytes_done), total);
	double fraction = total > 0 ? (double) done / total : 0;

	SpinLockAcquire(&job->mutex);
	strlcpy(progress->phase, job->phase, sizeof(progress->phase));
	strlcpy(progress->current_table, job->current_table, sizeof(progress->current_table));
	progress->worker_pid = job->coordinator_pid;
	started = job->data_started_at;
	phase_started = job->phase_started_at;
	items = pg_atomic_read_u64(&counters->items_total);
	items_done = pg_atomic_read_u64(&counters->items_done);
	SpinLockRelease(&job->mutex);

	progress->tables_total = pg_atomic_read_u32(&counters->tables_total);
	progress->tables_done = pg_atomic_read_u32(&counters->tables_done);
	progress->raw_bytes = pg_atomic_read_u64(&counters->raw_bytes);
	progress->stored_bytes = pg_atomic_read_u64(&counters->stored_bytes);
	progress->rows = pg_atomic_read_u64(&counters->rows);
	progress->seconds = seconds_since(started);
	progress->eta_seconds = -1;

	if (strcmp(progress->phase, "data") == 0)
		progress->eta_seconds = eta(progress->seconds, fraction);
	else
		fraction = items == 0 ? 0 : (double) items_done / items;
	if (strcmp(progress->phase, "comparing") == 0 || strcmp(progress->phase, "merging") == 0)
		progress->eta_seconds = eta(seconds_since(phase_started), fraction);
	progress->percent = overall_percent(job->kind, progress->phase, Min(fraction, 1));
}
