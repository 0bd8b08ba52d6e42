/*
 * child_pump.c
 *	  Moves data to and from a child without blocking on any of its pipes.
 */
#include "postgres.h"

#include <unistd.h>

#include "snapshot/child_pump.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/waiteventset.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define READ_STEP ((size_t) 256 * 1024)
#define WAIT_MS 100
#define TICK_MS 200

/* Close a pipe's end, once. */
void
child_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Give the child what it will take of its input now. */
static void
write_input(Child *child)
{
	size_t left = child->request->input_len - child->written;
	ssize_t written = 0;

	if (left > 0)
		written = write(child->input, child->request->input + child->written, left);
	if (written < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (written >= 0)
		child->written += written;

	/* A child that closed its input will say why on its way out. */
	if (written < 0 || child->written == child->request->input_len)
		child_close(&child->input);
}

/* Read what there is; closes our end when the child has closed its. */
static size_t
read_some(int *fd, char *buf, size_t size)
{
	ssize_t got = read(*fd, buf, size);

	if (got > 0)
		return got;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read from pipe: %m")));
	child_close(fd);
	return 0;
}

static void
read_output(Child *child)
{
	ByteBuffer *output = &child->result->output;

	bytebuffer_reserve(output, READ_STEP);
	output->len += read_some(&child->output, output->data + output->len, READ_STEP);
}

/*
 * Keep the beginning and the end of what the child complains: the reason is
 * in one of them, while a query between them may be megabytes long.
 */
static void
read_errors(Child *child)
{
	char buf[CHILD_ERROR_BYTES];
	size_t got = read_some(&child->errors, buf, sizeof(buf));
	size_t head = Min(got, CHILD_ERROR_BYTES - child->head_len);
	size_t tail = got - head;
	size_t keep = Min(child->tail_len, CHILD_ERROR_BYTES - tail);

	memcpy(child->head + child->head_len, buf, head);
	child->head_len += head;
	if (child->tail_len + tail > CHILD_ERROR_BYTES)
		child->cut = true;
	memmove(child->tail, child->tail + child->tail_len - keep, keep);
	memcpy(child->tail + keep, buf + head, tail);
	child->tail_len = keep + tail;
}

/* How pg_stat_activity names our waiting. */
uint32
child_wait_event(void)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplChildProcess");
	return wait_event;
}

/* Wait until a pipe is ready, or a moment has passed. */
static void
wait_for_pipes(Child *child)
{
	WaitEventSet *set = CreateWaitEventSet(CurrentResourceOwner, 5);
	WaitEvent event;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (child->input >= 0)
		AddWaitEventToSet(set, WL_SOCKET_WRITEABLE, child->input, NULL, NULL);
	if (child->output >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, child->output, NULL, NULL);
	if (child->errors >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, child->errors, NULL, NULL);
	WaitEventSetWait(set, WAIT_MS, &event, 1, child_wait_event());
	FreeWaitEventSet(set);
}

/* What a worker must not put off while it waits. */
void
child_handle_interrupts(Child *child)
{
	TimestampTz now = GetCurrentTimestamp();

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (child->request->tick != NULL && TimestampDifferenceExceeds(child->last_tick, now, TICK_MS))
	{
		child->last_tick = now;
		child->request->tick(child->request->tick_arg);
	}
}

/* Move data until the child has closed both of its outputs. */
void
child_pump(Child *child)
{
	while (child->output >= 0 || child->errors >= 0)
	{
		child_handle_interrupts(child);
		wait_for_pipes(child);
		if (child->input >= 0)
			write_input(child);
		if (child->output >= 0)
			read_output(child);
		if (child->errors >= 0)
			read_errors(child);
	}
}

/* Make the complaints fit to be shown: bounded, and in our encoding. */
char *
child_errors(const Child *child)
{
	StringInfoData errors;

	initStringInfo(&errors);
	appendBinaryStringInfo(&errors, child->head, child->head_len);
	if (child->cut)
		appendStringInfoString(&errors, "\n[...]\n");
	appendBinaryStringInfo(&errors, child->tail, child->tail_len);
	while (errors.len > 0 && errors.data[errors.len - 1] == '\n')
		errors.data[--errors.len] = '\0';
	if (pg_verifymbstr(errors.data, errors.len, true))
		return errors.data;
	for (int i = 0; i < errors.len; i++)
	{
		if (IS_HIGHBIT_SET(errors.data[i]) || errors.data[i] == '\0')
			errors.data[i] = '?';
	}
	return errors.data;
}
