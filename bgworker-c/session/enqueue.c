/*
 * enqueue.c
 *	  What happens when a session adds a job: the rows that belong to it, and
 *	  waking the launcher when the transaction commits.
 */
#include "base/settings.h"
#include "session/session.h"
#include "fmgr.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "common/string.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "jobs/peer_secret.h"
#include "session/replicated_change.h"
#include "jobs/shared_state.h"
#include "files/directory.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(steep_repl_enqueued);
PG_FUNCTION_INFO_V1(steep_repl_dequeued);
PG_FUNCTION_INFO_V1(steep_repl_was_queued_here);
PG_FUNCTION_INFO_V1(steep_repl_random_id);
PG_FUNCTION_INFO_V1(steep_repl_launcher_is_alive);

/* Ids of jobs that this transaction queued; in TopTransactionContext. */
static int64 *queued_ids = NULL;
static int n_queued = 0;

/* Wake the launcher at commit; nothing here may fail after that. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (n_queued == 0)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			/* COMMIT PREPARED would not come through here: nobody would be woken. */
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot PREPARE a transaction that has queued a steep_repl job"),
							errhint("Queue the job in a transaction of its own.")));
			break;
		case XACT_EVENT_COMMIT:
			for (int i = 0; i < n_queued; i++)
				peer_secret_commit(queued_ids[i]);
			launcher_wake(MyDatabaseId, false);
			n_queued = 0;
			break;
		case XACT_EVENT_ABORT:
			for (int i = 0; i < n_queued; i++)
				peer_secret_forget(queued_ids[i]);
			n_queued = 0;
			break;
		default:
			break;
	}
}

void
queue_wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

/* Remember a job of this transaction. Also called when one is retried. */
void
queue_wake_at_commit(int64 id)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	queued_ids =
		n_queued == 0 ? palloc_array(int64, 1) : repalloc_array(queued_ids, int64, n_queued + 1);
	queued_ids[n_queued++] = id;
	MemoryContextSwitchTo(old);
}

/* Without a launcher a job would wait for ever: say how to get one. */
void
queue_require_launcher(void)
{
	if (steep_shared == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("steep_repl is not preloaded, so no worker can run this job"),
			 errhint(
				 "Add to postgresql.conf: shared_preload_libraries = 'steep_repl', then restart the server.")));
	if (!launcher_is_alive())
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the steep_repl launcher is not running, so no worker can run this job"),
			 errhint(
				 "On a standby it starts after promotion. Elsewhere raise max_worker_processes if its slots are used up, and see the server log.")));
}

/* 128 random bits in hex. */
static void
make_token(char *token)
{
	uint8 bits[(STEEP_TOKEN_LEN - 1) / 2];

	if (!pg_strong_random(bits, sizeof(bits)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	for (int i = 0; i < (int) sizeof(bits); i++)
		snprintf(token + 2 * i, 3, "%02x", bits[i]);
}

static bool
is_work_queue(Relation relation)
{
	return strcmp(RelationGetRelationName(relation), "work_queue") == 0 &&
		   RelationGetNamespace(relation) == get_namespace_oid(STEEP_NAME, true);
}

/*
 * The id of the row that a trigger of ours fired for. Anybody may attach a
 * trigger function to a table of his own, where it has no business.
 */
static int64
triggering_job(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !is_work_queue(trigger->tg_relation))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function is a row trigger of steep_repl.work_queue only")));
	return DatumGetInt64(
		heap_getattr(trigger->tg_trigtuple, 1, RelationGetDescr(trigger->tg_relation), &isnull));
}

static Oid
triggering_table(FunctionCallInfo fcinfo)
{
	return RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation);
}

/*
 * AFTER INSERT on work_queue: as the owner, make the rows that belong to the job. What the parameters are worth is checked when the job runs.
 */
Datum
steep_repl_enqueued(PG_FUNCTION_ARGS)
{
	int64 id = triggering_job(fcinfo);
	OwnerSession session;
	char token[STEEP_TOKEN_LEN];

	if (is_replicated_change(triggering_table(fcinfo)))
		return PointerGetDatum(NULL);

	queue_require_launcher();
	make_token(token);

	owner_begin(&session);
	owner_execute("select steep_repl._job_queued($1, $2)", SQL_ARGS(arg_int8(id), arg_text(token)));
	owner_end(&session);

	queue_wake_at_commit(id);
	return PointerGetDatum(NULL);
}

/*
 * AFTER UPDATE on work_queue, of a pending job that was cancelled, by
 * cancel_operation or by the role's own UPDATE: end what belongs to it.
 */
Datum
steep_repl_dequeued(PG_FUNCTION_ARGS)
{
	int64 id = triggering_job(fcinfo);
	OwnerSession session;

	if (is_replicated_change(triggering_table(fcinfo)))
		return PointerGetDatum(NULL);
	owner_begin(&session);
	owner_execute("select steep_repl._job_dequeued($1)", SQL_ARGS(arg_int8(id)));
	owner_end(&session);
	peer_secret_forget(id);
	return PointerGetDatum(NULL);
}

/* Whether the current transaction queued this job. */
bool
queue_has(int64 id)
{
	for (int i = 0; i < n_queued; i++)
		if (queued_ids[i] == id)
			return true;
	return false;
}

/* If so, waiting for it would never end. */
Datum
steep_repl_was_queued_here(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(queue_has(PG_GETARG_INT64(0)));
}

/* Random, since rows of several nodes may meet in one table. */
Datum
steep_repl_random_id(PG_FUNCTION_ARGS)
{
	int64 id = 0;

	if (!pg_strong_random(&id, sizeof(id)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	PG_RETURN_INT64((id & PG_INT64_MAX) | 1);
}

Datum
steep_repl_launcher_is_alive(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(launcher_is_alive());
}
