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

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timeout.h"

PG_FUNCTION_INFO_V1(steep_repl_start_deadline);
PG_FUNCTION_INFO_V1(steep_repl_end_deadline);

static TimeoutId deadline = MAX_TIMEOUTS;
static volatile sig_atomic_t has_passed = false;

/* Runs in a signal handler: cancel as pg_cancel_backend would. */
static void
on_deadline(void)
{
	has_passed = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
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
		deadline = RegisterTimeout(USER_TIMEOUT, on_deadline);
	has_passed = false;
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
		disable_timeout(deadline, false);
	passed = has_passed;
	has_passed = false;
	if (passed)
		QueryCancelPending = false;
	PG_RETURN_BOOL(passed);
}
