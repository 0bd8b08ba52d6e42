/*
 * child_process.c
 *	  Runs a program as a child of this backend.
 *
 * The server's own helpers for that (popen, system) go through a shell, wait
 * without looking at interrupts and leave the child running after an error.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_process.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/waiteventset.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define READ_STEP ((size_t) 256 * 1024)
#define WAIT_MS 100
#define TICK_MS 200
#define TERMINATE_MS 1000

typedef struct Child
{
	const ChildRequest *request;
	ChildResult *result;
	pid_t		pid;			/* 0 when there is none to end */
	int			input;			/* our ends of the pipes; -1 when closed */
	int			output;
	int			errors;
	int			theirs[3];		/* the child's ends, until it has them */
	size_t		written;		/* of the input */
	size_t		errors_len;
	TimestampTz last_tick;
} Child;

static uint32 wait_event = 0;

static void
close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* A pipe that no program we start inherits; our end does not block. */
static void
make_pipe(int *ours, int *theirs, bool we_read)
{
	int			ends[2];

	if (pipe(ends) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create pipe: %m")));
	*ours = ends[we_read ? 0 : 1];
	*theirs = ends[we_read ? 1 : 0];
	if (fcntl(*ours, F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(*theirs, F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(*ours, F_SETFL, O_NONBLOCK) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not set up pipe: %m")));
}

/*
 * Start the program with default signal handling, which an exec does not
 * restore where the server ignores a signal, and with no descriptor of ours
 * but the three given.
 */
static int
spawn(const ChildRequest *request, const int fds[3], pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t	signals;
	int			result;

	posix_spawn_file_actions_init(&actions);
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_adddup2(&actions, fds[fd], fd);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
#endif

	posix_spawnattr_init(&attributes);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	sigfillset(&signals);
	sigdelset(&signals, SIGKILL);
	sigdelset(&signals, SIGSTOP);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	posix_spawnattr_setflags(&attributes,
							 POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

	result = posix_spawn(pid, request->argv[0], &actions, &attributes,
						 (char *const *) request->argv,
						 (char *const *) request->envp);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return result;
}

/* Open the pipes and start the program between them. */
static void
start_child(Child *child)
{
	make_pipe(&child->input, &child->theirs[0], false);
	make_pipe(&child->output, &child->theirs[1], true);
	make_pipe(&child->errors, &child->theirs[2], true);
	child->result->spawn_errno = spawn(child->request, child->theirs, &child->pid);
	if (child->result->spawn_errno != 0)
		child->pid = 0;
	for (int fd = 0; fd < 3; fd++)
		close_end(&child->theirs[fd]);
}

/* Give the child what it will take of its input now. */
static void
write_input(Child *child)
{
	size_t		left = child->request->input_len - child->written;
	ssize_t		written = 0;

	if (left > 0)
		written = write(child->input, child->request->input + child->written, left);
	if (written < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (written >= 0)
		child->written += written;

	/* A child that closed its input will say why on its way out. */
	if (written < 0 || child->written == child->request->input_len)
		close_end(&child->input);
}

/* Read what there is; closes our end when the child has closed its. */
static size_t
read_some(int *fd, char *buf, size_t size)
{
	ssize_t		got = read(*fd, buf, size);

	if (got > 0)
		return got;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read from pipe: %m")));
	close_end(fd);
	return 0;
}

static void
read_output(Child *child)
{
	ByteBuffer *output = &child->result->output;

	bytebuffer_reserve(output, READ_STEP);
	output->len += read_some(&child->output, output->data + output->len, READ_STEP);
}

/* Keep only the end of what the child complains: there it says why it failed. */
static void
read_errors(Child *child)
{
	char	   *errors = child->result->errors;
	char		buf[CHILD_ERROR_BYTES];
	size_t		got = read_some(&child->errors, buf, sizeof(buf));
	size_t		keep = Min(child->errors_len, CHILD_ERROR_BYTES - got);

	memmove(errors, errors + child->errors_len - keep, keep);
	memcpy(errors + keep, buf, got);
	child->errors_len = keep + got;
	errors[child->errors_len] = '\0';
}

/* Wait until a pipe is ready, or a moment has passed. */
static void
wait_for_pipes(Child *child)
{
	WaitEventSet *set = CreateWaitEventSet(CurrentResourceOwner, 5);
	WaitEvent	event;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (child->input >= 0)
		AddWaitEventToSet(set, WL_SOCKET_WRITEABLE, child->input, NULL, NULL);
	if (child->output >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, child->output, NULL, NULL);
	if (child->errors >= 0)
		AddWaitEventToSet(set, WL_SOCKET_READABLE, child->errors, NULL, NULL);
	WaitEventSetWait(set, WAIT_MS, &event, 1, wait_event);
	FreeWaitEventSet(set);
}

/* What a worker must not put off while it waits. */
static void
handle_interrupts(Child *child)
{
	TimestampTz now = GetCurrentTimestamp();

	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (child->request->tick != NULL &&
		TimestampDifferenceExceeds(child->last_tick, now, TICK_MS))
	{
		child->last_tick = now;
		child->request->tick(child->request->tick_arg);
	}
}

/* Move data until the child has closed both of its outputs. */
static void
pump(Child *child)
{
	while (child->output >= 0 || child->errors >= 0)
	{
		handle_interrupts(child);
		wait_for_pipes(child);
		if (child->input >= 0)
			write_input(child);
		if (child->output >= 0)
			read_output(child);
		if (child->errors >= 0)
			read_errors(child);
	}
}

/* Look once whether the child has ended; one that is not ours counts as ended. */
static bool
reaped(Child *child)
{
	pid_t		pid = waitpid(child->pid, &child->result->status, WNOHANG);

	if (pid == 0 || (pid < 0 && errno == EINTR))
		return false;
	if (pid < 0)
		child->result->status = -1;
	child->pid = 0;
	return true;
}

/* Wait for a child whose outputs are closed, which is about to end. */
static void
reap(Child *child)
{
	while (!reaped(child))
	{
		handle_interrupts(child);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
				  10, wait_event);
	}
	if (child->result->status == -1)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not learn how \"%s\" ended", child->request->argv[0])));
}

/* On error and at process exit: end the child, reap it, close the pipes. */
static void
kill_child(int code, Datum arg)
{
	Child	   *child = (Child *) DatumGetPointer(arg);

	(void) code;
	close_end(&child->input);
	close_end(&child->output);
	close_end(&child->errors);
	for (int fd = 0; fd < 3; fd++)
		close_end(&child->theirs[fd]);
	if (child->pid == 0)
		return;

	kill(child->pid, SIGTERM);
	for (int waited = 0; waited < TERMINATE_MS; waited += 10)
	{
		if (reaped(child))
			return;
		pg_usleep(10 * 1000L);
	}
	kill(child->pid, SIGKILL);
	while (!reaped(child))
		pg_usleep(10 * 1000L);
}

/* Make the complaints fit to be shown: whole lines, in our encoding. */
static void
tidy_errors(Child *child)
{
	char	   *errors = child->result->errors;
	char	   *line = strchr(errors, '\n');
	size_t		len = child->errors_len;

	if (len == CHILD_ERROR_BYTES && line != NULL)
	{
		len -= line + 1 - errors;
		memmove(errors, line + 1, len);
	}
	while (len > 0 && errors[len - 1] == '\n')
		len--;
	errors[len] = '\0';
	if (pg_verifymbstr(errors, (int) len, true))
		return;
	for (char *c = errors; *c != '\0'; c++)
	{
		if (IS_HIGHBIT_SET(*c))
			*c = '?';
	}
}

/*
 * Run a program to its end.  An error, a cancel, a failing tick or our own
 * exit ends the program first.
 */
void
child_process_run(const ChildRequest *request, ChildResult *result)
{
	Child		child = {
		.request = request, .result = result,
		.input = -1, .output = -1, .errors = -1, .theirs = {-1, -1, -1}
	};

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplChildProcess");
	memset(result, 0, sizeof(ChildResult));
	bytebuffer_init(&result->output, READ_STEP);

	PG_ENSURE_ERROR_CLEANUP(kill_child, PointerGetDatum(&child));
	{
		start_child(&child);
		if (result->spawn_errno == 0)
		{
			pump(&child);
			reap(&child);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(kill_child, PointerGetDatum(&child));

	kill_child(0, PointerGetDatum(&child));
	tidy_errors(&child);
}
