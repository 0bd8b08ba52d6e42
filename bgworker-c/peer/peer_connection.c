/*
 * peer_connection.c
 *	  Connections to the other database: made, kept by number, closed.
 */
#include "peer/peer_connection.h"

#include "access/xact.h"
#include "fmgr.h"
#include "libpq/libpq-be-fe-helpers.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "peer/peer_target.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(steep_repl_peer_connect);
PG_FUNCTION_INFO_V1(steep_repl_peer_set_deadline);
PG_FUNCTION_INFO_V1(steep_repl_peer_close);

/* How long the peer may take to hear that it is to stop. */
#define CANCEL_MS 500

/* Of a message of the peer's, so many bytes. */
#define MESSAGE_BYTES 2000

static PeerConnection *connections = NULL;
static uint32 last_number = 0;

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
	peer_line_close(peer->line);
	peer->line = NULL;
}

/* ---- the connections of this session ---- */

static void
forget(PeerConnection *peer)
{
	PeerConnection **at = &connections;

	while (*at != peer)
		at = &(*at)->next;
	*at = peer->next;
	if (peer->line != NULL)
		peer_line_close(peer->line);
	pfree(peer);
}

/* Those that were opened in a (sub)transaction go with it if it fails: nobody knows their names. */
static void
at_end(SubTransactionId id, SubTransactionId parent, bool has_failed)
{
	PeerConnection *next;

	for (PeerConnection *peer = connections; peer != NULL; peer = next)
	{
		next = peer->next;
		if (peer->opened_in != id)
			continue;
		peer->opened_in = parent;
		if (has_failed)
			forget(peer);
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB)
		at_end(id, parent, event == SUBXACT_EVENT_ABORT_SUB);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		at_end(TopSubTransactionId, InvalidSubTransactionId, event == XACT_EVENT_ABORT);
}

static PeerConnection *
start(const PeerTarget *target, int ms)
{
	static bool is_prepared = false;
	PeerConnection *peer = MemoryContextAllocZero(TopMemoryContext, sizeof(*peer));

	if (!is_prepared)
	{
		RegisterSubXactCallback(at_subtransaction_end, NULL);
		RegisterXactCallback(at_transaction_end, NULL);
		is_prepared = true;
	}
	peer->line = peer_line_create(target->keywords, target->values);
	peer->number = ++last_number;
	peer->role = GetUserId();
	peer->opened_in = GetCurrentSubTransactionId();
	peer->deadline = from_now(ms);
	peer->next = connections;
	connections = peer;
	return peer;
}

static void
check_connected(PGconn *conn)
{
	if (conn == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (PQstatus(conn) != CONNECTION_OK)
		ereport(ERROR, (errcode(PQconnectionNeedsPassword(conn)
									? ERRCODE_INVALID_PASSWORD
									: ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
						errmsg("could not connect to the peer"),
						errdetail_internal("%s", peer_libpq_error(conn))));
	peer_check_password_used(conn);
}

/* Connect to a peer; the connection's name. That, and what is done on it, may take so many ms; 0 = any time. */
Datum
steep_repl_peer_connect(PG_FUNCTION_ARGS)
{
	PeerTarget target = peer_target_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	PeerConnection *peer = start(&target, PG_GETARG_INT32(2));

	PG_TRY();
	{
		peer_run(peer, peer_line_connect);
		check_connected(peer_line_conn(peer->line));
	}
	PG_CATCH();
	{
		forget(peer);
		PG_RE_THROW();
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("peer %u", peer->number)));
}

/* A connection of this session and role by its name; NULL if there is none. */
static PeerConnection *
find(const char *name)
{
	unsigned int number;

	if (sscanf(name, "peer %u", &number) != 1)
		return NULL;
	for (PeerConnection *peer = connections; peer != NULL; peer = peer->next)
		if (peer->number == number && peer->role == GetUserId())
			return peer;
	return NULL;
}

/* A connection that can be used. */
PeerConnection *
peer_connection_find(const char *name)
{
	PeerConnection *peer = find(name);

	if (peer == NULL || peer->line == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_DOES_NOT_EXIST),
				 errmsg("this session has no connection to a peer that is called like this")));
	return peer;
}

/* From now on, what is done on a connection may take so many ms; 0 = any time. */
Datum
steep_repl_peer_set_deadline(PG_FUNCTION_ARGS)
{
	PeerConnection *peer = peer_connection_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	peer->deadline = from_now(PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

/* The peer must not go on for a session that is gone, and may not hang one that wants to go. */
Datum
steep_repl_peer_close(PG_FUNCTION_ARGS)
{
	PeerConnection *volatile peer = find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PGconn *conn;

	if (peer == NULL)
		PG_RETURN_VOID();
	conn = peer->line == NULL ? NULL : peer_line_conn(peer->line);
	PG_TRY();
	{
		if (conn != NULL && PQtransactionStatus(conn) == PQTRANS_ACTIVE)
			(void) libpqsrv_cancel(conn, from_now(CANCEL_MS));
	}
	PG_FINALLY();
	{
		forget(peer);
	}
	PG_END_TRY();
	PG_RETURN_VOID();
}
