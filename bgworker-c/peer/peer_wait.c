/*
 * peer_wait.c
 *	  Waits for what libpq does.
 *
 * That is done by a thread (peer_line.c). The process waits for it at its latch, so that
 * neither a peer that is silent nor one that keeps libpq busy can make it deaf to who
 * wants it to end.
 */
#include "peer/peer_connection.h"

#include "base/settings.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/* Sleep until the thread is done, or something else happens. */
static void
wait_for(const PeerConnection *peer, int event)
{
	static uint32 wait_event = 0;
	int wanted = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_SOCKET_READABLE;
	long ms = -1;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplPeer");
	if (peer->deadline != 0)
	{
		ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), peer->deadline);
		wanted |= WL_TIMEOUT;
		if (ms == 0)
			ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("peer does not answer")));
	}
	if (WaitLatchOrSocket(MyLatch, wanted, event, ms, wait_event) & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* What was asked of libpq is over, one way or another. */
static void
end_work(PeerConnection *peer)
{
	PeerTrouble trouble = peer_line_end(peer->line);
	bool is_connected = PQstatus(peer_line_conn(peer->line)) == CONNECTION_OK;
	size_t limit = peer->line->limit;

	if (trouble == PEER_FINE)
		return;
	peer_connection_drop(peer);
	if (!is_connected)
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
						errmsg("peer: it says too much before it is ready")));
	if (limit != (size_t) steep_max_peer_answer * 1024 * 1024)
		ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION),
						errmsg("peer: it sends more than was asked for")));
	ereport(
		ERROR,
		(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		 errmsg("peer: an answer is larger than %d MB", steep_max_peer_answer),
		 errhint(
			 "Rows that are so large need a greater steep_repl.max_peer_answer; it bounds the memory that a peer can make this server take.")));
}

/* Have libpq do something, while this process does something else. Nothing may be asked of the connection meanwhile. */
void
peer_start(PeerConnection *peer, PeerWork work)
{
	(void) peer_line_start(peer->line, work);
}

/*
 * Wait until that is done. Where the wait ends with an error, the connection can go
 * on only if the thread stops soon.
 */
void
peer_finish(PeerConnection *peer)
{
	PG_TRY();
	{
		while (!peer_line_is_done(peer->line))
			wait_for(peer, peer->line->event);
	}
	PG_CATCH();
	{
		if (!peer_line_stop(peer->line))
			peer->line = NULL;
		PG_RE_THROW();
	}
	PG_END_TRY();
	end_work(peer);
}

/* Have libpq do something, and wait for it. */
void
peer_run(PeerConnection *peer, PeerWork work)
{
	peer_start(peer, work);
	peer_finish(peer);
}
