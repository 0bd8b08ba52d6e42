/*
 * peer_connection.c
 *	  Connections to the other database: made, kept by number, closed.
 *
 * Nothing here waits in libpq: neither a peer that is silent nor one that does
 * not read can make this process deaf to who wants it to end. And nothing
 * takes more memory than steep_repl.max_peer_answer allows.
 */
#include "peer/peer_connection.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "libpq/libpq-be-fe-helpers.h"
#include "mb/pg_wchar.h"
#include "base/settings.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(steep_repl_peer_connect);
PG_FUNCTION_INFO_V1(steep_repl_peer_set_deadline);
PG_FUNCTION_INFO_V1(steep_repl_peer_close);

/* How long the peer may take to hear that it is to stop. */
#define CANCEL_MS 500

/* Of a message of the peer's, so many bytes. */
#define MESSAGE_BYTES 2000

static PeerConnection *connections = NULL;
static uint32 last_number = 0;

static uint32
wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("SteepReplPeer");
	return event;
}

static TimestampTz
from_now(int ms)
{
	return ms == 0 ? 0 : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* What somebody else wrote, as it may be shown here: valid, and not without end. */
char *
peer_text(const char *text, size_t len)
{
	while (len > 0 && text[len - 1] == '\n')
		len--;
	if (!pg_verify_mbstr(GetDatabaseEncoding(), text, len, true))
		return pstrdup("(not in the encoding of this database)");
	return pnstrdup(text, pg_mbcliplen(text, len, MESSAGE_BYTES));
}

char *
peer_libpq_error(PGconn *conn)
{
	const char *message = PQerrorMessage(conn);

	return peer_text(message, strlen(message));
}

/* Disconnect at once, when its state can no longer be known. */
void
peer_connection_drop(PeerConnection *peer)
{
	libpqsrv_disconnect(peer->conn);
	peer->conn = NULL;
}

pg_noreturn static void
give_up(PeerConnection *peer, int sqlstate, const char *message, const char *hint)
{
	peer_connection_drop(peer);
	ereport(ERROR,
			(errcode(sqlstate), errmsg_internal("%s", message), hint ? errhint("%s", hint) : 0));
}

/* Bytes that came over the network so far. A socket of this machine does not count them. */
static uint64
received_bytes(PGconn *conn)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(PQsocket(conn), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_bytes_received;
}

/* What comes from now on is the answer to another query. */
void
peer_begin_answer(PeerConnection *peer)
{
	peer->received_before = received_bytes(peer->conn);
}

/*
 * Asked each time that something has come, before anything is made of it. Only a peer that sends as fast as this
 * process reads gets further, to the end of one message.
 */
static void
check_received(PeerConnection *peer)
{
	uint64 limit = (uint64) steep_max_peer_answer * 1024 * 1024;
	uint64 received = received_bytes(peer->conn); /* none if the connection has just been lost */

	if (received > peer->received_before && received - peer->received_before > limit)
		give_up(
			peer, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
			psprintf("peer: an answer is larger than %d MB", steep_max_peer_answer),
			"Rows that are so large need a greater steep_repl.max_peer_answer; it bounds the memory that a peer can make this server take.");
}

/*
 * Wait until the socket is ready for one of the events, or something else has
 * happened; which are. Interrupts are obeyed, and what came in is taken in.
 */
int
peer_wait(PeerConnection *peer, int events)
{
	int wanted = events | WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
	long ms = -1;
	int ready;

	if (peer->deadline != 0)
	{
		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), peer->deadline);
		wanted |= WL_TIMEOUT;
		if (ms == 0)
			give_up(peer, ERRCODE_CONNECTION_FAILURE, "peer does not answer", NULL);
	}
	ready = WaitLatchOrSocket(MyLatch, wanted, PQsocket(peer->conn), ms, wait_event());
	if (ready & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if ((ready & WL_SOCKET_READABLE) && PQstatus(peer->conn) == CONNECTION_OK)
	{
		(void) PQconsumeInput(peer->conn); /* an error shows in what is done next */
		check_received(peer);
	}
	return ready & events;
}

/* Notices of a peer are of no use here, and without end. */
static void
ignore_notice(void *arg, const PGresult *notice)
{
}

/* As PQconnectdb() does it, without waiting in libpq. */
static void
establish(PeerConnection *peer)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED)
	{
		int event = status == PGRES_POLLING_READING ? WL_SOCKET_READABLE : WL_SOCKET_WRITEABLE;

		if (peer_wait(peer, event) != 0)
			status = PQconnectPoll(peer->conn);
	}
}

static PeerConnection *
start(const PeerTarget *target, int ms)
{
	PeerConnection *peer = MemoryContextAllocZero(TopMemoryContext, sizeof(*peer));

	libpqsrv_connect_prepare();
	peer->deadline = from_now(ms);
	peer->conn = PQconnectStartParams(target->keywords, target->values, false);
	if (peer->conn == NULL)
	{
		ReleaseExternalFD();
		pfree(peer);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	peer->number = ++last_number;
	peer->next = connections;
	connections = peer;
	PQsetNoticeReceiver(peer->conn, ignore_notice, NULL);
	return peer;
}

static void
end(PeerConnection *peer)
{
	PeerConnection **at = &connections;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	libpqsrv_disconnect(peer->conn);
	pfree(peer);
}

/*
 * Connect to a peer; the connection's name. What is done on it, connecting
 * included, may take so many ms until another deadline is set; 0 = any time.
 */
Datum
steep_repl_peer_connect(PG_FUNCTION_ARGS)
{
	PeerTarget target = peer_target_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	PeerConnection *peer = start(&target, PG_GETARG_INT32(2));

	PG_TRY();
	{
		if (PQstatus(peer->conn) != CONNECTION_BAD)
			establish(peer);
		if (PQstatus(peer->conn) != CONNECTION_OK)
			ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
							errmsg("could not connect to the peer"),
							errdetail_internal("%s", peer_libpq_error(peer->conn))));
		peer_check_password_used(peer->conn);
		PQsetnonblocking(peer->conn, 1);
	}
	PG_CATCH();
	{
		end(peer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("peer %u", peer->number)));
}

/* A connection of this session by its name; NULL if there is none. */
static PeerConnection *
find(const char *name)
{
	unsigned int number;

	if (sscanf(name, "peer %u", &number) != 1)
		return NULL;
	for (PeerConnection *peer = connections; peer != NULL; peer = peer->next)
		if (peer->number == number)
			return peer;
	return NULL;
}

/* A connection that can be used. */
PeerConnection *
peer_connection_find(const char *name)
{
	PeerConnection *peer = find(name);

	if (peer == NULL || peer->conn == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_DOES_NOT_EXIST),
				 errmsg("this session has no connection to a peer that is called like this")));
	return peer;
}

/* From now on, what is done on a connection may take so many ms; 0 = any time. */
Datum
steep_repl_peer_set_deadline(PG_FUNCTION_ARGS)
{
	peer_connection_find(text_to_cstring(PG_GETARG_TEXT_PP(0)))->deadline =
		from_now(PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

/* The peer must not go on for a session that is gone, and may not hang one that wants to go. */
Datum
steep_repl_peer_close(PG_FUNCTION_ARGS)
{
	PeerConnection *volatile peer = find(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (peer == NULL)
		PG_RETURN_VOID();
	PG_TRY();
	{
		if (peer->conn != NULL && PQtransactionStatus(peer->conn) == PQTRANS_ACTIVE)
			(void) libpqsrv_cancel(peer->conn, from_now(CANCEL_MS));
	}
	PG_FINALLY();
	{
		end(peer);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}
