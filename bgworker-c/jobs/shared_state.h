/*
 * shared_state.h
 *	  What the workers and sessions share while the server runs: which
 *	  databases have waiting jobs, which jobs run, and how far they are.
 *
 * Processes, cancel requests and progress live here and never in a row, since
 * a row can be written by whoever holds the documented grants.
 */
#ifndef STEEP_SHARED_STATE_H
#define STEEP_SHARED_STATE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "files/directory.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/array.h"

#define STEEP_MAX_JOBS 16      /* running at once in the whole cluster */
#define STEEP_MAX_DATABASES 64 /* with waiting jobs; beyond it: look everywhere */
#define STEEP_MAX_COPIERS 64
#define STEEP_MAX_REMOVERS 2              /* at once in the whole cluster; they may hang */
#define STEEP_SERVED 64                   /* requesters of whom it is known when they were served */
#define STEEP_OBJECT_ID_LEN 48            /* snap_20251208_123456_1a2b3c4d */
#define STEEP_TABLE_LEN (4 * NAMEDATALEN) /* quoted schema.table */

/* What a job does; its object's row is in snapshots or in overlaps. */
typedef enum JobKind
{
	JOB_SNAPSHOT = 0,
	JOB_APPLY,
	JOB_OVERLAP,
	JOB_MERGE,
	JOB_PAIR,
	JOB_FETCH,
} JobKind;

/* A job's life in shared memory; bgworker-c/README.md draws it. */
typedef enum JobState
{
	JOB_FREE = 0,
	JOB_RESERVED, /* a dispatcher is claiming the row */
	JOB_ADMITTED, /* claimed and committed; launcher must start it */
	JOB_STARTED,  /* a coordinator is registered or running */
	JOB_ENDED,    /* the row says how it ended */
} JobState;

/* What the holder is asked for and answers, in order. */
typedef enum HolderState
{
	HOLDER_STARTING = 0,
	HOLDER_PINNED, /* the snapshot is exported */
	HOLDER_LOCK_REQUESTED,
	HOLDER_LOCKED,
	HOLDER_PERSIST_REQUESTED,
	HOLDER_PERSISTED, /* the slot stays when the holder ends */
	HOLDER_RELEASED,  /* it may end */
} HolderState;

/* The first error of a helper; its coordinator raises it again. */
typedef struct HelperError
{
	int sqlerrcode; /* 0 = none */
	char message[1024];
	char detail[2048];
	char hint[512];
	char context[1024];
} HelperError;

/* Written by copiers with every buffer, read by any session. */
typedef struct JobCounters
{
	pg_atomic_uint64 bytes_total;  /* size of what is to be copied, on disk */
	pg_atomic_uint64 bytes_done;   /* of bytes_total */
	pg_atomic_uint64 raw_bytes;    /* COPY text produced */
	pg_atomic_uint64 stored_bytes; /* after compression */
	pg_atomic_uint64 rows;
	pg_atomic_uint32 tables_total;
	pg_atomic_uint32 tables_done;
	pg_atomic_uint32 tables_durable; /* of them, on disk for good */
	pg_atomic_uint64 items_total;    /* of a phase: an apply's items that are no loads, or rows */
	pg_atomic_uint64 items_done;
} JobCounters;

/*
 * The slot of one job. Its processes are attached to it, and write to it only
 * while they are; it is given to no other job before the last one has left.
 */
typedef struct SteepJob
{
	slock_t mutex;     /* made once: a late reader may hold it while the slot changes hands */
	uint64 generation; /* counts up with each use; a worker is for one of them */

	/* Written under steep_shared->lock. */
	JobState state;
	int64 id;
	Oid database;
	Oid requester;
	bool is_superusers;
	int promised_workers; /* worker slots kept for it, not yet started */
	int n_attached;       /* processes that may write here */
	bool has_begun;       /* its coordinator has come */
	bool makes_directory; /* at path, which no other job may then do */

	/* Set when the job is admitted, constant afterwards. */
	JobKind kind;
	char object_id[STEEP_OBJECT_ID_LEN];
	char token[STEEP_TOKEN_LEN]; /* in the marker of the job's directory */

	/*
	 * Under the mutex, up to the counters. A pid is set and cleared under the
	 * lock, too: who holds that may send the process a signal.
	 */
	pid_t coordinator_pid; /* 0 = not there, as the others */
	int coordinator_procno;
	pid_t holder_pid;
	pid_t copier_pids[STEEP_MAX_COPIERS];
	int holder_procno;
	bool cancel_requested;
	HolderState holder_state;
	char slot_name[NAMEDATALEN]; /* to make and export from; empty = none */
	char snapshot_name[64];
	XLogRecPtr snapshot_lsn;
	dsm_handle plan;
	char path[MAXPGPATH];
	char phase[16];
	char current_table[STEEP_TABLE_LEN];
	TimestampTz data_started_at;
	TimestampTz phase_started_at;
	HelperError error;

	JobCounters counters;
} SteepJob;

#define PEER_SECRETS 64          /* jobs that wait or run with a connection string */
#define PEER_SECRETS_PER_ROLE 16 /* of them, of one role that is no superuser */
#define PEER_SECRETS_RESERVED 16 /* of them, for superusers */
#define PEER_SECRET_LEN 2048     /* of one, with its NUL */

/* A connection string of a queued job. */
typedef struct PeerSecret
{
	int64 id; /* of the job; 0 = free */
	Oid database;
	Oid role;       /* who gave it */
	bool committed; /* the job's row is */
	char conninfo[PEER_SECRET_LEN];
} PeerSecret;

/* A database with waiting jobs. */
typedef struct WaitingDatabase
{
	Oid oid;
	bool blocked; /* they did not fit: look again later */
} WaitingDatabase;

/* The one process in a database that removes the files of lost jobs. */
typedef struct Remover
{
	Oid database;         /* InvalidOid = there is none */
	char path[MAXPGPATH]; /* what it removes; empty = nothing */
} Remover;

#define STEEP_APPLY_ERRORS 64

/* The last change that a subscription has failed on. */
typedef struct ApplyError
{
	Oid subscription; /* InvalidOid = free */
	Oid database;
	XLogRecPtr position; /* at the publisher: where its transaction ended */
	int sqlerrcode;
	TimestampTz at;
	char message[512];
} ApplyError;

typedef struct SteepShared
{
	LWLock *lock; /* job slots, admission, secrets, dispatchers, removers */
	PeerSecret secrets[PEER_SECRETS];
	int n_dispatchers;
	Remover removers[STEEP_MAX_REMOVERS];
	Oid served[STEEP_SERVED]; /* requesters, who was served last at the end */
	int n_served;

	slock_t mutex; /* for what follows, up to the jobs */
	pid_t launcher_pid;
	int launcher_procno;
	bool look_everywhere;
	int n_databases;
	WaitingDatabase databases[STEEP_MAX_DATABASES];
	ApplyError apply_errors[STEEP_APPLY_ERRORS];

	SteepJob jobs[STEEP_MAX_JOBS];
} SteepShared;

/* NULL unless shared_preload_libraries names us. */
extern SteepShared *steep_shared;

extern void shared_state_init(void);

/* The launcher and its mailbox. */
extern bool launcher_is_alive(void);
extern void launcher_wake(Oid database, bool blocked);
extern void launcher_set_latch(void);

/* Job slots, in job_slots.c. */
extern void job_init_counters(JobCounters *counters);
extern int job_workers_needed(const char *operation);

/* What a role that has jobs running leaves free: the most that a job of others needs. */
#define STEEP_WORKERS_FOR_OTHERS 3
extern SteepJob *job_reserve(int64 id, Oid database, Oid requester, int workers);
extern int job_slots_free(void);
extern void job_set_state(SteepJob *job, JobState state);
extern void job_readmit(SteepJob *job);
extern bool job_is_abandoned(SteepJob *job);
extern bool job_release(SteepJob *job);
extern SteepJob *job_find(int64 id, Oid database);
extern bool job_makes_directory(const char *path);
extern bool job_begin_directory(SteepJob *job);
extern void job_end_directory(SteepJob *job);

/* Worker slots, in worker_slots.c. */
extern int workers_free(void);
extern int workers_promised(void);
extern int workers_reserved(void);
extern int workers_left_for_others(Oid requester);
extern void dispatchers_count(int change);
extern bool job_promise_worker(SteepJob *job, bool is_needed);
extern void job_break_promise(SteepJob *job);

/* The removers. */
extern bool remover_is_at(const char *path);

/* The processes of a job, in job_members.c. */
extern bool job_attach(SteepJob *job, uint64 generation, pid_t *place, int *procno);
extern bool job_request_cancel(SteepJob *job, int64 id);
extern void job_end_helpers(SteepJob *job, int signal);
extern bool job_has_coordinator(SteepJob *job);
extern void job_wake_coordinator(SteepJob *job);
extern void job_set_phase(SteepJob *job, const char *phase);
extern void job_show_table(SteepJob *job, const char *name);
extern void job_begin_data(SteepJob *job);
extern HolderState job_holder_state(SteepJob *job);
extern void job_move_holder(SteepJob *job, HolderState from, HolderState to);
extern void job_report_error(SteepJob *job, const ErrorData *edata);
extern bool job_has_error(SteepJob *job);
extern int job_n_copiers(SteepJob *job);

/* Whose turn it is, in turns.c. */
extern void turn_note(Oid requester);
extern ArrayType *turns_served(void);
extern ArrayType *turns_running(void);

#endif /* STEEP_SHARED_STATE_H */
