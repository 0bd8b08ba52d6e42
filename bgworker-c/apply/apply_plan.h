/*
 * apply_plan.h
 *	  What an apply does: steps in a fixed order, each with its items, in
 *	  dynamic shared memory, from which appliers take them.
 */
#ifndef STEEP_APPLY_PLAN_H
#define STEEP_APPLY_PLAN_H

#include "postgres.h"

#include "base/codec.h"
#include "base/digest.h"
#include "jobs/origin.h"
#include "jobs/shared_state.h"
#include "storage/condition_variable.h"
#include "storage/dsm.h"
#include "storage/lwlock.h"

/* In the order in which they run. */
typedef enum ApplyStep
{
	STEP_NONE = 0,
	STEP_TRUNCATE,
	STEP_PRE_DATA,
	STEP_LARGE_OBJECTS,
	STEP_LOAD,
	STEP_SEQUENCES,
	STEP_POST_DATA,
	STEP_RIGHTS,
	STEP_LAST,
	STEP_ANALYZE,
	STEP_CLOSED, /* appliers may end */
} ApplyStep;

#define APPLY_STEPS (STEP_CLOSED + 1)

typedef enum ItemState
{
	ITEM_WAITING = 0,
	ITEM_RUNNING,
	ITEM_DONE
} ItemState;

/* A frame of a data file, as the manifest describes it. */
typedef struct ApplyFrame
{
	uint64 offset;
	uint64 rows;
	uint64 raw_bytes;
	uint64 stored_bytes;
	uint8 sha256[DIGEST_BYTES];
} ApplyFrame;

/* A table whose data is loaded. */
typedef struct ApplyTable
{
	int entry;   /* its TABLE DATA, in the table of contents */
	int dump_id; /* its file is <dump_id>.dat with a suffix */
	uint64 stored_bytes;
	pg_atomic_uint32 items_left;
	pg_atomic_uint32 moves; /* rows belong into other partitions here */
} ApplyTable;

/* Consecutive frames of a large object, which may be all that it has. */
typedef struct ApplyObject
{
	Oid object;
	uint32 first_frame;
	uint32 n_frames;
	uint64 offset;       /* in the object */
	uint64 stored_bytes; /* of the whole file */
} ApplyObject;

/* What one applier does in one transaction. */
typedef struct ApplyItem
{
	int entry;   /* of the table of contents; -1 = none */
	int dump_id; /* with part, how it is noted as done */
	int64 part;
	uint32 after;        /* so many items of its step must be done before it */
	uint32 table;        /* of a load: in tables; or of large objects: */
	uint32 first_object; /* in objects */
	uint32 n_objects;    /* 0: it is of a table */
	uint32 first_frame;
	uint32 n_frames;
	uint32 first_needed; /* of post-data: items, in refs */
	uint32 n_needed;
	uint32 first_locked; /* of post-data: dump ids of tables, in refs */
	uint32 n_locked;
	bool exclusive; /* locks them against every other item */
	bool alone;     /* runs beside no other item */
	uint8 state;    /* ItemState; under the lock */
} ApplyItem;

typedef struct StepState
{
	uint32 first; /* of its items, which stand together */
	uint32 n;
	uint32 next; /* under the lock: those before it are taken */
	uint32 done;
} StepState;

typedef struct ApplyPlan
{
	LWLock lock;
	ConditionVariable changed; /* an item is done, or a step begins */
	ApplyStep step;
	int running[STEEP_MAX_COPIERS]; /* item of each applier, or -1 */
	StepState steps[APPLY_STEPS];

	/* Constant once made. */
	Codec codec;
	int encoding;
	bool no_owner;
	bool into_existing; /* tables and sequences that were there before */
	bool truncate;
	bool replicate;
	ReplOriginId origin; /* of what is loaded, if not as any other change */
	int origin_pid;      /* who has it in use, if it is one of a subscription */
	uint64 toc_bytes;
	uint8 toc_sha256[DIGEST_BYTES];
	uint32 n_tables;
	uint32 n_items;
	Size tables; /* offsets in the segment */
	Size objects;
	Size items;
	Size refs;
	Size frames;
} ApplyPlan;

extern ApplyTable *plan_tables(ApplyPlan *plan);
extern ApplyObject *plan_objects(ApplyPlan *plan);
extern ApplyItem *plan_items(ApplyPlan *plan);
extern uint32 *plan_refs(ApplyPlan *plan);
extern ApplyFrame *plan_frames(ApplyPlan *plan);

extern void apply_plan_open_step(ApplyPlan *plan, ApplyStep step);
extern bool apply_plan_step_is_done(ApplyPlan *plan, ApplyStep step);
extern bool apply_plan_take(ApplyPlan *plan, int worker, uint32 *item);
extern bool apply_plan_item_done(ApplyPlan *plan, int worker);

#endif /* STEEP_APPLY_PLAN_H */
