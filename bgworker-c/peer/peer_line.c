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

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "port/atomics.h"
#include "storage/fd.h"
#include "storage/ipc.h"

/* How often a thread looks whether it is to stop. */
#define LOOK_MS 50

/* How long the process waits for a thread that it has told to stop. */
#define STOP_MS 300

/* What a server says until it is ready has no reason to be more. */
#define LOGIN_BYTES (1024 * 1024)

/* Bytes of an answer that are none of its value: names, tags, encryption. */
#define ANSWER_OVERHEAD 4096

/* Who has the line. */
typedef enum LineState
{
	LINE_IDLE,
	LINE_RUNS, /* the thread */
	LINE_DONE, /* the process, again */
	LINE_LEFT, /* the thread, for good */
} LineState;

struct PeerLine
{
	const char **keywords;
	const char **values;
	PGconn *conn;
	int event; /* readable when the thread is done */
	pg_atomic_uint32 state;
	pg_atomic_uint32 is_to_stop;
	PeerWork work;
	PeerTrouble trouble;
	PGresult *result;
	uint64 received_before;
	size_t limit;  /* of what may come; 0 = any */
	size_t excess; /* of all answers, what was no value */
};

/* Threads that run, or were left to themselves. */
static pg_atomic_uint32 n_threads;
static PeerLine *running = NULL; /* what the process waits for */
static bool is_prepared = false;

/* ---- the thread ---- */

/* Bytes that came over the network so far. A socket of this machine does not count them. */
static uint64
received_bytes(PGconn *conn)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (PQsocket(conn) < 0 || getsockopt(PQsocket(conn), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_bytes_received;
}

/*
 * Whether too much has come. Asked each time that something has, before anything is
 * made of it; only a peer that sends as fast as it is read gets further, to
 * the end of one message.
 */
static bool
is_too_much(PeerLine *line)
{
	uint64 received = line->limit == 0 ? 0 : received_bytes(line->conn);

	return received > line->received_before && received - line->received_before > line->limit;
}

/* Wait until the socket is ready; false if the thread has to stop. */
static bool
wait_ready(PeerLine *line, short events)
{
	for (;;)
	{
		struct pollfd fd = {.fd = PQsocket(line->conn), .events = events};

		if (pg_atomic_read_u32(&line->is_to_stop) != 0)
			line->trouble = PEER_STOPPED;
		else if (is_too_much(line))
			line->trouble = PEER_TOO_LARGE;
		if (line->trouble != PEER_FINE)
			return false;
		if (fd.fd < 0 || poll(&fd, 1, LOOK_MS) > 0)
			return true;
	}
}

/* Notices of a peer are of no use here, and without end. */
static void
ignore_notice(void *arg, const PGresult *notice)
{
}

/* As PQconnectdb() does it. */
void
peer_line_connect(PeerLine *line)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	line->limit = LOGIN_BYTES;
	line->conn = PQconnectStartParams(line->keywords, line->values, false);
	if (line->conn == NULL || PQstatus(line->conn) == CONNECTION_BAD)
		return;
	PQsetNoticeReceiver(line->conn, ignore_notice, NULL);
	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED &&
		   wait_ready(line, status == PGRES_POLLING_READING ? POLLIN : POLLOUT))
		status = PQconnectPoll(line->conn);
	if (line->trouble == PEER_FINE && status == PGRES_POLLING_OK)
		PQsetnonblocking(line->conn, 1);
}

/* Hand over to the network what libpq still has of a query. */
void
peer_line_flush(PeerLine *line)
{
	while (PQflush(line->conn) > 0 && wait_ready(line, POLLIN | POLLOUT))
		(void) PQconsumeInput(line->conn); /* an error shows in what is done next */
}

/* The next result of the query that runs at the peer; NULL if there is no more. */
void
peer_line_answer(PeerLine *line)
{
	PGnotify *notification;

	while (PQisBusy(line->conn) && PQstatus(line->conn) == CONNECTION_OK)
	{
		if (!wait_ready(line, POLLIN))
			return;
		(void) PQconsumeInput(line->conn);
	}
	if (is_too_much(line))
		line->trouble = PEER_TOO_LARGE;
	else
		line->result = PQgetResult(line->conn);
	while ((notification = PQnotifies(line->conn)) != NULL)
		PQfreemem(notification);
}

static void
free_line(PeerLine *line)
{
	PQclear(line->result);
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
	else if (write(line->event, &done, sizeof(done)) < 0)
		abort(); /* cannot be: the counter is at zero */
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
	PeerLine *line = calloc(1, sizeof(PeerLine));
	int n = 0;

	while (keywords[n] != NULL)
		n++;
	if (!is_prepared)
	{
		pg_atomic_init_u32(&n_threads, 0);
		on_proc_exit(at_exit, (Datum) 0);
		is_prepared = true;
	}
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

/* The result that the thread has left, which the caller must clear; NULL if there is none. */
PGresult *
peer_line_result(PeerLine *line)
{
	PGresult *result = line->result;

	line->result = NULL;
	return result;
}

/* What comes from now on is the answer to another query, of so many bytes at most. */
void
peer_line_begin_answer(PeerLine *line, size_t limit)
{
	line->received_before = received_bytes(line->conn);
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
	uint64 received = received_bytes(line->conn);
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
	while (waited < STOP_MS && poll(&event, 1, LOOK_MS) <= 0)
		waited += LOOK_MS;
	if (!peer_line_is_done(line) && pg_atomic_exchange_u32(&line->state, LINE_LEFT) != LINE_DONE)
	{
		running = NULL;
		return false;
	}
	(void) peer_line_end(line);
	pg_atomic_write_u32(&line->is_to_stop, 0);
	return true;
}

/* Disconnect, and forget the line. No thread may have it. */
void
peer_line_close(PeerLine *line)
{
	free_line(line);
	ReleaseExternalFD();
}
