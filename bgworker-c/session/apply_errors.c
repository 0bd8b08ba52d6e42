/*
 * apply_errors.c
 *	  The last error with which each subscription failed on a change. PostgreSQL
 *	  tells it to the server log only; ALTER SUBSCRIPTION ... SKIP wants to know
 *	  where the transaction ended that failed, and people why.
 */
#include "session/session.h"

#include "base/compat.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_subscription.h"
#include "fmgr.h"
#include "funcapi.h"
#include "jobs/shared_state.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "replication/origin.h"
#include "replication/worker_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(steep_repl_apply_errors);

static emit_log_hook_type previous_hook = NULL;

/*
 * The end of a remote transaction, as the apply worker's error context has it:
 * in its last line the last of all that looks like a position, in whatever
 * language. Lines before that may have values of rows.
 */
static XLogRecPtr
position_in(const char *context)
{
	const char *line_end = strrchr(context, '\n');
	XLogRecPtr found = InvalidXLogRecPtr;

	context = line_end == NULL ? context : line_end + 1;
	for (const char *slash = strchr(context, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
	{
		const char *start = slash;
		uint32 high;
		uint32 low;

		while (start > context && slash - start < 8 && isxdigit((unsigned char) start[-1]))
			start--;
		if (start < slash && sscanf(start, "%8X/%8X", &high, &low) == 2)
			found = ((uint64) high) << 32 | low;
	}
	return found;
}

/* That of the subscription, else a free one, else the oldest; under the mutex. */
static ApplyError *
find_place(Oid subscription)
{
	ApplyError *place = &steep_shared->apply_errors[0];

	for (int i = 0; i < STEEP_APPLY_ERRORS; i++)
	{
		ApplyError *error = &steep_shared->apply_errors[i];

		if (error->subscription == subscription)
			return error;
		if (error->at < place->at)
			place = error;
	}
	return place;
}

/* What says nothing of the change: that somebody ends the worker, locks, and what else may be over the next time. */
static bool
is_passing(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_CONNECTION_EXCEPTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
			return true;
		default:
			return sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE || sqlerrcode == ERRCODE_OBJECT_IN_USE;
	}
}

/* Called with errors that go to the log, maybe in a transaction that has failed: nothing may raise here. */
static void
note_error(ErrorData *edata)
{
	XLogRecPtr position;
	ApplyError *error;

	if (previous_hook != NULL)
		previous_hook(edata);
	if (edata->elevel < ERROR || !IsLogicalWorker() || MyLogicalRepWorker == NULL ||
		OidIsValid(MyLogicalRepWorker->relid) || edata->context == NULL || edata->message == NULL ||
		is_passing(edata->sqlerrcode))
		return;
	position = position_in(edata->context);
	if (position == InvalidXLogRecPtr)
		return;
	SpinLockAcquire(&steep_shared->mutex);
	error = find_place(MyLogicalRepWorker->subid);
	error->subscription = MyLogicalRepWorker->subid;
	error->database = MyLogicalRepWorker->dbid;
	error->position = position;
	error->sqlerrcode = edata->sqlerrcode;
	error->at = GetCurrentTimestamp();
	strlcpy(error->message, edata->message, sizeof(error->message));
	SpinLockRelease(&steep_shared->mutex);
}

void
apply_errors_init(void)
{
	previous_hook = emit_log_hook;
	emit_log_hook = note_error;
}

static void
put_error(ReturnSetInfo *rsinfo, const ApplyError *error)
{
	int length = pg_mbcliplen(error->message, strlen(error->message), sizeof(error->message) - 1);
	Datum values[] = {
		ObjectIdGetDatum(error->subscription),
		LSNGetDatum(error->position),
		CStringGetTextDatum(unpack_sql_state(error->sqlerrcode)),
		PointerGetDatum(cstring_to_text_with_len(error->message, length)),
		TimestampTzGetDatum(error->at),
	};
	bool nulls[lengthof(values)] = {0};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* It was skipped, or went through after all: the subscription has come further. */
static bool
is_over(const ApplyError *error)
{
	char name[NAMEDATALEN];
	ReplOriginId origin;

	ReplicationOriginNameForLogicalRep(error->subscription, InvalidOid, name, sizeof(name));
	origin = replorigin_by_name(name, true);
	return origin != InvalidReplOriginId &&
		   replorigin_get_progress(origin, false) > error->position;
}

/* Those of this database that the caller may see: a message may have values of a row. */
Datum
steep_repl_apply_errors(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool sees_all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; steep_shared != NULL && i < STEEP_APPLY_ERRORS; i++)
	{
		ApplyError error;

		SpinLockAcquire(&steep_shared->mutex);
		error = steep_shared->apply_errors[i];
		SpinLockRelease(&steep_shared->mutex);
		if (OidIsValid(error.subscription) && error.database == MyDatabaseId &&
			SearchSysCacheExists1(SUBSCRIPTIONOID, ObjectIdGetDatum(error.subscription)) &&
			(sees_all ||
			 object_ownercheck(SubscriptionRelationId, error.subscription, GetUserId())) &&
			!is_over(&error))
			put_error(rsinfo, &error);
	}
	return (Datum) 0;
}
