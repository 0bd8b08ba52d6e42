/*
 * deadline.c
 *	  A bound on the time that one step within a statement may take.
 *
 * The server connects to other servers without blocking, and then libpq's
 * connect_timeout does nothing: a host that accepts and stays silent would be
 * waited for without end.
 */
#include "steep_repl.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"

PG_FUNCTION_INFO_V1(steep_repl_start_deadline);
PG_FUNCTION_INFO_V1(steep_repl_end_deadline);

static TimeoutId deadline = MAX_TIMEOUTS;
static volatile sig_atomic_t has_passed = false;
static SubTransactionId started_in = InvalidSubTransactionId; /* while one is set */

/* Runs in a signal handler: cancel as pg_cancel_backend would. */
static void
on_deadline(void)
{
	has_passed = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* No longer; a cancel of ours that came too late is taken back. */
static void
disarm(void)
{
	disable_timeout(deadline, false);
	started_in = InvalidSubTransactionId;
	if (has_passed)
		QueryCancelPending = false;
}

/*
 * A step that ends by an error may not come to its end_deadline(): the deadline
 * goes with the subtransaction that an exception handler rolls back, and is not
 * left to cancel what comes after. Whether it had passed can still be asked.
 */
static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (id != started_in)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		disarm();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		started_in = parent;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (started_in != InvalidSubTransactionId &&
		(event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE))
	{
		disarm();
		has_passed = false;
	}
}

static void
init(void)
{
	deadline = RegisterTimeout(USER_TIMEOUT, on_deadline);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	RegisterXactCallback(at_transaction_end, NULL);
}

/* From now on, cancel what runs after so many ms. One at a time. */
Datum
steep_repl_start_deadline(PG_FUNCTION_ARGS)
{
	int ms = PG_GETARG_INT32(0);

	if (ms <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a deadline must be in the future")));
	if (deadline == MAX_TIMEOUTS)
		init();
	has_passed = false;
	started_in = GetCurrentSubTransactionId();
	enable_timeout_after(deadline, ms);
	PG_RETURN_VOID();
}

/*
 * The step is over. Whether it was the deadline that cancelled it, and no
 * user; a cancel of ours that came too late for it is taken back.
 */
Datum
steep_repl_end_deadline(PG_FUNCTION_ARGS)
{
	bool passed;

	if (deadline != MAX_TIMEOUTS)
		disarm();
	passed = has_passed;
	has_passed = false;
	PG_RETURN_BOOL(passed);
}
