/*
 * fetch_rate.c
 *	  Keeps the bytes per second of a fetch below what was asked for.
 */
#include "fetch/fetch_plan.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* What was not used in this time is lost: the line must not get more than twice the rate in a second. */
#define CREDIT_US (500 * 1000)

void
fetch_rate_init(FetchRate *rate, int kilobytes_per_second)
{
	SpinLockInit(&rate->mutex);
	rate->kilobytes_per_second = kilobytes_per_second;
	rate->next = GetCurrentTimestamp();
}

/* Whether something may be asked for at once. */
bool
fetch_rate_is_free(FetchRate *rate)
{
	TimestampTz next;

	if (rate->kilobytes_per_second <= 0)
		return true;
	SpinLockAcquire(&rate->mutex);
	next = rate->next;
	SpinLockRelease(&rate->mutex);
	return next <= GetCurrentTimestamp();
}

/* Wait until so many bytes may be asked for. */
void
fetch_rate_wait(FetchRate *rate, uint32 bytes)
{
	static uint32 wait_event = 0;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz begin;

	if (rate->kilobytes_per_second <= 0)
		return;
	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplFetchRate");
	SpinLockAcquire(&rate->mutex);
	begin = Max(rate->next, now - CREDIT_US);
	rate->next = begin + (TimestampTz) bytes * 1000000 / 1024 / rate->kilobytes_per_second;
	SpinLockRelease(&rate->mutex);
	while ((now = GetCurrentTimestamp()) < begin)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (begin - now) / 1000 + 1, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}
