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

#include "snapshot/child_process.h"
#include "snapshot/child_pump.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/waiteventset.h"

#define TERMINATE_MS 1000

/* A pipe that no program we start inherits; our end does not block. */
static void
make_pipe(int *ours, int *theirs, bool we_read)
{
	int ends[2];

	if (pipe(ends) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not create pipe: %m")));
	*ours = ends[we_read ? 0 : 1];
	*theirs = ends[we_read ? 1 : 0];
	if (fcntl(*ours, F_SETFD, FD_CLOEXEC) != 0 || fcntl(*theirs, F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(*ours, F_SETFL, O_NONBLOCK) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not set up pipe: %m")));
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
	sigset_t signals;
	int result;

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
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

	result = posix_spawn(pid, request->argv[0], &actions, &attributes,
						 (char *const *) request->argv, (char *const *) request->envp);
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
		child_close(&child->theirs[fd]);
}

/* Look once whether the child has ended; one that is not ours counts as ended. */
static bool
reaped(Child *child)
{
	pid_t pid = waitpid(child->pid, &child->result->status, WNOHANG);

	if (pid == 0 || (pid < 0 && errno == EINTR))
		return false;
	if (pid < 0)
		child->result->status = -1;
	child->pid = 0;
	return true;
}

/*
 * Wait for a child whose outputs are closed, which is about to end.  A cancel
 * is signalled to our whole process group, so the child may have died of it;
 * then the cancel is what to report.
 */
static void
reap(Child *child)
{
	while (!reaped(child))
	{
		child_handle_interrupts(child);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10, child_wait_event());
	}
	child_handle_interrupts(child);
	if (child->result->status == -1)
		ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
						errmsg("could not learn how \"%s\" ended", child->request->argv[0])));
}

/* On error and at process exit: end the child, reap it, close the pipes. */
static void
kill_child(int code, Datum arg)
{
	Child *child = (Child *) DatumGetPointer(arg);

	child_close(&child->input);
	child_close(&child->output);
	child_close(&child->errors);
	for (int fd = 0; fd < 3; fd++)
		child_close(&child->theirs[fd]);
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

/*
 * Run a program to its end.  An error, a cancel, a failing tick or our own
 * exit ends the program first.
 */
void
child_process_run(const ChildRequest *request, ChildResult *result)
{
	Child child = {.request = request,
				   .result = result,
				   .input = -1,
				   .output = -1,
				   .errors = -1,
				   .theirs = {-1, -1, -1}};

	memset(result, 0, sizeof(ChildResult));
	bytebuffer_init(&result->output, 1024);

	PG_ENSURE_ERROR_CLEANUP(kill_child, PointerGetDatum(&child));
	{
		start_child(&child);
		if (result->spawn_errno == 0)
		{
			child_pump(&child);
			reap(&child);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(kill_child, PointerGetDatum(&child));

	kill_child(0, PointerGetDatum(&child));
	result->errors = child_errors(&child);
}
