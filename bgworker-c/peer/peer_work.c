/*
 * peer_work.c
 *	  What a thread does with a connection to a peer. Nothing of the server's may be
 *	  called here, but for atomics.
 */
#include "peer/peer_line.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

/* What a server says until it is ready has no reason to be more. */
#define LOGIN_BYTES (1024 * 1024)

/* Bytes that came over the network so far. A socket of this machine does not count them. */
uint64
peer_received_bytes(PGconn *conn)
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
	uint64 received = line->limit == 0 ? 0 : peer_received_bytes(line->conn);

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
		if (fd.fd < 0 || poll(&fd, 1, PEER_LOOK_MS) > 0)
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
static PGresult *
next_result(PeerLine *line)
{
	while (PQisBusy(line->conn) && PQstatus(line->conn) == CONNECTION_OK)
	{
		if (!wait_ready(line, POLLIN))
			return NULL;
		(void) PQconsumeInput(line->conn);
	}
	if (is_too_much(line))
		line->trouble = PEER_TOO_LARGE;
	return line->trouble == PEER_FINE ? PQgetResult(line->conn) : NULL;
}

/* Whether nothing more can be read: a COPY has begun, or the connection broke. */
static bool
is_last(PeerLine *line, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH ||
		   PQstatus(line->conn) != CONNECTION_OK;
}

/* All results of the query that runs at the peer, since the next one could not be sent otherwise. */
void
peer_line_answer(PeerLine *line)
{
	PGresult *result;
	PGnotify *notification;
	bool over = false;

	while (!over && (result = next_result(line)) != NULL)
	{
		over = is_last(line, result);
		if (line->n_results < MAX_RESULTS)
			line->results[line->n_results++] = result;
		else
			PQclear(result);
	}
	while ((notification = PQnotifies(line->conn)) != NULL)
		PQfreemem(notification);
}

/*
 * The results of the query of a pipeline that is answered next, up to the mark behind it.
 * Queries that are still to be sent go out meanwhile.
 */
void
peer_line_piece(PeerLine *line)
{
	int n_empty = 0; /* one ends the results of a query; more mean that no query is left */

	peer_line_flush(line);
	while (n_empty < 3 && line->trouble == PEER_FINE && PQstatus(line->conn) == CONNECTION_OK)
	{
		PGresult *result = next_result(line);
		bool is_mark = result != NULL && PQresultStatus(result) == PGRES_PIPELINE_SYNC;

		n_empty = result == NULL ? n_empty + 1 : 0;
		if (result != NULL && !is_mark && line->n_results < MAX_RESULTS)
			line->results[line->n_results++] = result;
		else
			PQclear(result);
		if (is_mark)
			return;
	}
}
