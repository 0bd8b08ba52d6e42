/*
 * peer_pieces.c
 *	  Pieces of a snapshot's files at the other server.
 *
 * They cross as they are, in binary results. Many are asked for at once, in libpq's
 * pipeline, so that the time between question and answer does not matter.
 */
#include "peer/peer_pieces.h"

#include "utils/timestamp.h"

/* How long the next piece may take before the line is given up. */
#define PIECE_MS (5 * 60 * 1000)

/* What comes with a piece besides its bytes, encryption included. */
#define PIECE_OVERHEAD 4096

static PGconn *
conn_of(const PeerConnection *peer)
{
	return peer_line_conn(peer->line);
}

static void
check_sent(PeerConnection *peer, bool is_sent)
{
	if (!is_sent)
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("peer: could not send a query"),
						errdetail_internal("%s", peer_libpq_error(conn_of(peer)))));
}

/* From now on the connection is for pieces only. */
void
peer_pieces_begin(PeerConnection *peer)
{
	check_sent(peer, PQenterPipelineMode(conn_of(peer)) == 1);
}

/* Ask for a piece. Each is a transaction of its own: an error ends none but that. */
void
peer_piece_ask(PeerConnection *peer, const char *path, const char *file, uint64 offset,
			   uint32 length)
{
	char numbers[2][32];
	const char *values[] = {path, file, numbers[0], numbers[1]};

	snprintf(numbers[0], sizeof(numbers[0]), UINT64_FORMAT, offset);
	snprintf(numbers[1], sizeof(numbers[1]), "%u", length);
	check_sent(peer,
			   PQsendQueryParams(conn_of(peer), "select steep_repl._snapshot_piece($1, $2, $3, $4)",
								 lengthof(values), NULL, values, NULL, NULL, 1) == 1 &&
				   PQpipelineSync(conn_of(peer)) == 1);
}

pg_noreturn static void
wrong_piece(const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_PROTOCOL_VIOLATION), errmsg("peer: %s", what)));
}

/*
 * Have the piece read that was asked for first and has not been answered, while this
 * process does something else. No more than what is under way may come.
 */
void
peer_piece_expect(PeerConnection *peer, size_t under_way)
{
	peer_line_begin_answer(peer->line, under_way + under_way / 64 + PIECE_OVERHEAD * 1024);
	peer->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PIECE_MS);
	peer_start(peer, peer_line_piece);
}

/* Wait for that piece: so many bytes, in a result that the caller is to clear. */
PGresult *
peer_piece_answer(PeerConnection *peer, uint32 length)
{
	const PGresult *result;

	peer_finish(peer);
	result = peer_line_result(peer->line, 0);
	if (result == NULL)
		ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("peer: the connection broke"),
						errdetail_internal("%s", peer_libpq_error(conn_of(peer)))));
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		peer_raise(peer_error_of(peer, result));
	if (PQresultStatus(result) != PGRES_TUPLES_OK || peer_line_result(peer->line, 1) != NULL ||
		PQnfields(result) != 1 || PQntuples(result) != 1 || PQfformat(result, 0) != 1)
		wrong_piece("an answer is not one piece of a file");
	if (PQgetisnull(result, 0, 0) || PQgetlength(result, 0, 0) != (int) length)
		wrong_piece("a piece of a file has another length than was asked for");
	return peer_line_take_result(peer->line);
}
