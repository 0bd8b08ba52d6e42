/*
 * peer_line.c
 *	  What libpq does, beside the process's own thread.
 *
 * libpq can be kept busy by who is at the other end, for minutes and within one
 * call: looking up names, trying hosts, deriving a key with billions of rounds,
 * reading files, parsing endless small messages. The process must obey those
 * who want it to end meanwhile. So all of this is done by a thread, for which
 * the process waits as for a socket. When it cannot wait any longer, it leaves
 * the connection to the thread, which closes it when it gets that far.
 *
 * The thread runs none of the server's code, and takes no memory of its contexts.
 */
#include "peer/peer_line.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/ipc.h"

/* So many threads may be left to themselves in a process, each of which may use a core. */
#define MAX_LEFT 4

/* How long the process waits for a thread that it has told to stop. */
#define STOP_MS 300

/* Bytes of an answer that are none of its value: names, tags, encryption. */
#define ANSWER_OVERHEAD 4096

/* Threads that run, or were left to themselves. */
static pg_atomic_uint32 n_threads;
static PeerLine *running = NULL; /* what the process waits for */
static bool is_prepared = false;

void
peer_line_clear_results(PeerLine *line)
{
	while (line->n_results > 0)
		PQclear(line->results[--line->n_results]);
}

static void
free_line(PeerLine *line)
{
	peer_line_clear_results(line);
	PQfinish(line->conn);
	for (int i = 0; line->keywords[i] != NULL; i++)
	{
		free((char *) line->keywords[i]);
		free((char *) line->values[i]);
	}
	free(line->keywords);
	free(line->values);
	close(line->event);
	free(line);
}

static void *
thread_main(void *arg)
{
	PeerLine *line = arg;
	uint64 done = 1;

	line->work(line);
	if (pg_atomic_exchange_u32(&line->state, LINE_DONE) == LINE_LEFT)
		free_line(line);
	else
		(void) !write(line->event, &done, sizeof(done));
	pg_atomic_fetch_sub_u32(&n_threads, 1);
	return NULL;
}

/* ---- the process ---- */

/*
 * What a thread uses is cleaned up by exit(). One that does not stop must not
 * find it gone: then the process ends without that.
 */
static void
at_exit(int code, Datum arg)
{
	if (running != NULL)
		pg_atomic_write_u32(&running->is_to_stop, 1);
	for (int waited = 0; waited < STOP_MS && pg_atomic_read_u32(&n_threads) > 0; waited += 10)
		pg_usleep(10 * 1000);
	if (pg_atomic_read_u32(&n_threads) > 0)
		_exit(code);
}

static char *
copy_or_fail(const char *text)
{
	char *copy = strdup(text == NULL ? "" : text);

	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return copy;
}

/* A line that is to be connected with what libpq is told; both arrays end with NULL. */
PeerLine *
peer_line_create(const char *const *keywords, const char *const *values)
{
	PeerLine *line;
	int n = 0;

	while (keywords[n] != NULL)
		n++;
	if (!is_prepared)
	{
		pg_atomic_init_u32(&n_threads, 0);
		on_proc_exit(at_exit, (Datum) 0);
		is_prepared = true;
	}
	if (pg_atomic_read_u32(&n_threads) >= MAX_LEFT)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("too many connections to peers are still being given up"),
						errdetail("There are %d in this session.", MAX_LEFT),
						errhint("Wait until their logins are over, or reconnect.")));
	line = calloc(1, sizeof(PeerLine));
	if (line == NULL || (line->keywords = calloc(n + 1, sizeof(char *))) == NULL ||
		(line->values = calloc(n + 1, sizeof(char *))) == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	for (int i = 0; i < n; i++)
	{
		line->keywords[i] = copy_or_fail(keywords[i]);
		line->values[i] = copy_or_fail(values[i]);
	}
	pg_atomic_init_u32(&line->state, LINE_IDLE);
	pg_atomic_init_u32(&line->is_to_stop, 0);
	line->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (line->event < 0 || !AcquireExternalFD())
	{
		free_line(line);
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("too many open files for a connection to a peer"),
						errhint("Raise the server's \"max_files_per_process\" or \"ulimit -n\".")));
	}
	return line;
}

PGconn *
peer_line_conn(PeerLine *line)
{
	return line->conn;
}

/* A result that the thread has left; NULL if there are not so many. */
const PGresult *
peer_line_result(PeerLine *line, int i)
{
	return i < line->n_results ? line->results[i] : NULL;
}

/* The only result that the thread has left, for the caller to clear. */
PGresult *
peer_line_take_result(PeerLine *line)
{
	line->n_results = 0;
	return line->results[0];
}

/* What comes from now on is the answer to another query, of so many bytes at most. */
void
peer_line_begin_answer(PeerLine *line, size_t limit)
{
	peer_line_clear_results(line);
	line->received_before = peer_received_bytes(line->conn);
	line->limit = limit;
}

/*
 * The answer had a value of so many bytes. The rest is counted over all answers,
 * since libpq keeps some of it: encryption adds little, and a peer may send settings
 * without end. Whether that is too much.
 */
bool
peer_line_count(PeerLine *line, size_t used)
{
	uint64 received = peer_received_bytes(line->conn);
	size_t expected = used + used / 64 + ANSWER_OVERHEAD;

	if (received > line->received_before + expected)
		line->excess += received - line->received_before - expected;
	return line->excess > line->limit;
}

/* Start a thread that does some work; what becomes readable when it is done. */
int
peer_line_start(PeerLine *line, PeerWork work)
{
	pthread_attr_t detached;
	pthread_t thread;
	sigset_t all;
	sigset_t previous;
	int failure;

	line->work = work;
	line->trouble = PEER_FINE;
	running = line;
	pg_atomic_write_u32(&line->state, LINE_RUNS);
	pg_atomic_fetch_add_u32(&n_threads, 1);
	/* The thread inherits the mask: the server's handlers are for its own thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &previous);
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	failure = pthread_create(&thread, &detached, thread_main, line);
	pthread_attr_destroy(&detached);
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
	if (failure != 0)
	{
		pg_atomic_fetch_sub_u32(&n_threads, 1);
		pg_atomic_write_u32(&line->state, LINE_IDLE);
		running = NULL;
		errno = failure;
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("could not start a thread for a peer: %m")));
	}
	return line->event;
}

bool
peer_line_is_done(PeerLine *line)
{
	return pg_atomic_read_u32(&line->state) == LINE_DONE;
}

/* Take the line back from a thread that is done; what the matter was. */
PeerTrouble
peer_line_end(PeerLine *line)
{
	uint64 done;

	/* the thread writes it a moment after it has let go */
	while (read(line->event, &done, sizeof(done)) < 0)
		pg_usleep(100);
	pg_atomic_write_u32(&line->state, LINE_IDLE);
	running = NULL;
	return line->trouble;
}

/*
 * Take the line back from a thread that may not be done. False if that one does
 * not stop soon: then the line is its own, and must not be used any more.
 */
bool
peer_line_stop(PeerLine *line)
{
	struct pollfd event = {.fd = line->event, .events = POLLIN};
	int waited = 0;

	pg_atomic_write_u32(&line->is_to_stop, 1);
	while (waited < STOP_MS && poll(&event, 1, PEER_LOOK_MS) <= 0)
		waited += PEER_LOOK_MS;
	if (!peer_line_is_done(line) && pg_atomic_exchange_u32(&line->state, LINE_LEFT) != LINE_DONE)
	{
		running = NULL;
		ReleaseExternalFD();
		return false;
	}
	(void) peer_line_end(line);
	pg_atomic_write_u32(&line->is_to_stop, 0);
	return true;
}

/*
 * Disconnect, and forget the line. A thread has it still where the process ends in
 * the middle of a wait: it is stopped, or left with it.
 */
void
peer_line_close(PeerLine *line)
{
	if (pg_atomic_read_u32(&line->state) != LINE_IDLE && !peer_line_stop(line))
		return;
	free_line(line);
	ReleaseExternalFD();
}
