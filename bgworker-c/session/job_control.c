/*
 * job_control.c
 *	  What sessions do to a job that exists: look at it, cancel it, retry it. Each
 *	  checks the caller's rights over the job, then writes as the owner.
 */
#include "session/session.h"
#include "fmgr.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "base/roles.h"
#include "jobs/peer_secret.h"
#include "jobs/shared_state.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(steep_repl_cancel);
PG_FUNCTION_INFO_V1(steep_repl_operation);
PG_FUNCTION_INFO_V1(steep_repl_keep_peer);
PG_FUNCTION_INFO_V1(steep_repl_retry);

/* So long cancelling waits for a job that is between two attempts. */
#define CANCEL_WAIT_MS 10000

/* What is to be done with a job. */
typedef enum Control
{
	CONTROL_LOOK,
	CONTROL_CANCEL,
	CONTROL_RETRY,
} Control;

/*
 * Whether a role may do that. To cancel takes what pg_cancel_backend takes, to
 * look what pg_stat_activity takes. A job that is retried runs as its requester:
 * that is for whoever can be the requester.
 */
static bool
may_control(Oid caller, Oid requester, Control what)
{
	if (superuser_arg(caller))
		return true;
	switch (what)
	{
		case CONTROL_LOOK:
			return has_privs_of_role(caller, ROLE_PG_MONITOR) ||
				   may_control(caller, requester, CONTROL_CANCEL);
		case CONTROL_CANCEL:
			return is_member_of_role(caller, requester) ||
				   (!superuser_arg(requester) && has_privs_of_role(caller, ROLE_PG_SIGNAL_BACKEND));
		case CONTROL_RETRY:
			return can_be_role(caller, requester);
	}
	return false;
}

/*
 * Begin as the owner and look a job of ours up. Returns its status; raises if
 * there is none, or the caller may not do that with it.
 */
static char *
begin_control(OwnerSession *session, int64 id, Control what)
{
	Oid caller = GetUserId();
	bool isnull;

	owner_begin(session);
	if (owner_execute("select * from steep_repl._job_here($1)", SQL_ARGS(arg_int8(id))) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("operation " INT64_FORMAT " does not exist", id),
						errhint("See steep_repl.list_operations().")));
	if (!may_control(caller, DatumGetObjectId(owner_value(0, 2, &isnull)), what))
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for operation " INT64_FORMAT, id),
			 errdetail("It was requested by another role."),
			 what == CONTROL_RETRY
				 ? errhint("Only that role, its members and superusers may retry it.")
				 : errhint(
					   "Only that role, its members, superusers and members of pg_signal_backend may cancel it.")));
	return owner_text(0, 1);
}

/* Cancel a job in the state that it is said to be in. False if it is not, or no more. */
static bool
try_cancel(int64 id, const char *status)
{
	SteepJob *job;
	bool isnull;

	if (strcmp(status, "pending") == 0)
	{
		owner_execute("select steep_repl._job_cancelled($1)", SQL_ARGS(arg_int8(id)));
		if (DatumGetBool(owner_value(0, 1, &isnull)))
			return true;
	}
	/* A job that is over may keep its slot for a moment. */
	return (job = job_find(id, MyDatabaseId)) != NULL && job_request_cancel(job, id);
}

/*
 * A pending job is cancelled at once; a running one is told to stop. Its row
 * is not locked: the caller's transaction may stay open for long.
 *
 * One that a crash left running has nobody to be told until a dispatcher has
 * resumed or failed it, which takes a moment.
 */
Datum
steep_repl_cancel(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), CANCEL_WAIT_MS);
	OwnerSession session;
	char *status = begin_control(&session, id, CONTROL_CANCEL);
	bool result;

	while (!(result = try_cancel(id, status)) &&
		   (strcmp(status, "pending") == 0 || strcmp(status, "running") == 0))
	{
		if (GetCurrentTimestamp() > deadline)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("operation " INT64_FORMAT " could not be cancelled yet", id),
					 errdetail("Its worker has ended, and what becomes of it is not decided yet."),
					 errhint("Try again in a moment.")));
		launcher_wake(MyDatabaseId, false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 50,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (owner_execute("select * from steep_repl._job_here($1)", SQL_ARGS(arg_int8(id))) == 0)
			break;
		status = owner_text(0, 1);
	}
	owner_end(&session);
	PG_RETURN_BOOL(result);
}

/* A job's row. */
Datum
steep_repl_operation(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	OwnerSession session;
	Datum result = (Datum) 0;
	bool isnull = true;

	(void) begin_control(&session, id, CONTROL_LOOK);
	if (owner_execute("select w from steep_repl.work_queue w where w.id = $1",
					  SQL_ARGS(arg_int8(id))) == 1)
		result = SPI_datumTransfer(owner_value(0, 1, &isnull), false, -1);
	owner_end(&session);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/*
 * Keep a connection string for a job that this transaction queues. Who says
 * where a job connects to sends its requester there.
 */
Datum
steep_repl_keep_peer(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	OwnerSession session;

	if (!queue_has(id))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("this transaction did not queue operation " INT64_FORMAT, id)));
	(void) begin_control(&session, id, CONTROL_RETRY);
	owner_end(&session);
	peer_secret_keep(id, MyDatabaseId, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/* Queue a failed or cancelled job again, as the role that first asked for it. */
Datum
steep_repl_retry(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	OwnerSession session;
	char *status;
	bool isnull;

	queue_require_launcher();
	status = begin_control(&session, id, CONTROL_RETRY);
	owner_execute("select steep_repl._job_requeued($1)", SQL_ARGS(arg_int8(id)));
	if (!DatumGetBool(owner_value(0, 1, &isnull)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot retry operation " INT64_FORMAT ", which is %s", id,
							   strcmp(status, "running") == 0 || strcmp(status, "complete") == 0
								   ? status
								   : "pending"),
						errdetail("Only failed and cancelled operations can be retried.")));
	owner_end(&session);
	queue_wake_at_commit(id);
	PG_RETURN_VOID();
}
