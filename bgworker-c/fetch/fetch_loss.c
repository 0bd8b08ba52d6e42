/*
 * fetch_loss.c
 *	  What a fetch does when it loses its peer: it waits, for longer each time, and tries
 *	  again; for a minute in all.
 */
#include "fetch/fetch_plan.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* A peer that is lost so often in a row is left to whoever retries the job. */
#define MAX_LOSSES 9
#define FIRST_PAUSE_MS 125

/* Whether an error says that the line is lost, or the server at its other end is down. */
static bool
is_loss(const ErrorData *error)
{
	return (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION &&
			error->sqlerrcode != ERRCODE_PROTOCOL_VIOLATION) ||
		   error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		   error->sqlerrcode == ERRCODE_CRASH_SHUTDOWN ||
		   error->sqlerrcode == ERRCODE_CANNOT_CONNECT_NOW ||
		   error->sqlerrcode == ERRCODE_IDLE_SESSION_TIMEOUT;
}

static void
pause_after_loss(SteepJob *job, int n_losses)
{
	static uint32 wait_event = 0;
	TimestampTz end =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FIRST_PAUSE_MS << n_losses);

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplFetchPause");
	while (GetCurrentTimestamp() < end)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end), wait_event);
		ResetLatch(MyLatch);
		worker_check_cancel(job);
	}
}

/* In PG_CATCH: go on, in this memory, if that is worth it; else raise the error again. */
void
fetch_survive_loss(SteepJob *job, int *n_losses, MemoryContext context)
{
	ErrorData *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (!is_loss(error) || *n_losses >= MAX_LOSSES)
		PG_RE_THROW();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(context);
	ereport(LOG, (errmsg("steep_repl: %s lost its peer and tries again: %s", job->object_id,
						 error->message)));
	FreeErrorData(error);
	pause_after_loss(job, (*n_losses)++);
}
