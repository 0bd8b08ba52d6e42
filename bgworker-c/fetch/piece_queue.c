/*
 * piece_queue.c
 *	  Asks a peer for pieces of files, and gives them out in the order in which they were
 *	  asked for.
 *
 * A line that is lost is taken up again a few times, and what has not come is asked for
 * once more: nobody else has to know.
 */
#include "fetch/piece_queue.h"

#include "jobs/requester.h"
#include "peer/peer_pieces.h"

/* A connection that there is already is used; else one is made when it is needed. */
PieceQueue *
piece_queue_create(JobRun *run, const char *path, FetchRate *rate, char *connection)
{
	PieceQueue *queue = palloc0_object(PieceQueue);

	queue->run = run;
	queue->path = path;
	queue->rate = rate;
	queue->connection = connection;
	return queue;
}

bool
piece_queue_has_room(PieceQueue *queue)
{
	if (queue->n == 0)
		return true;
	return queue->n < QUEUE_PIECES && queue->bytes < QUEUE_BYTES && fetch_rate_is_free(queue->rate);
}

static void
disconnect(PieceQueue *queue)
{
	if (queue->peer != NULL && queue->peer->line != NULL)
		peer_connection_drop(queue->peer);
	queue->peer = NULL;
	queue->connection = NULL;
	queue->is_reading = false;
}

static void
send_piece(PieceQueue *queue, const Piece *piece)
{
	peer_piece_ask(queue->peer, queue->path, piece->file, piece->offset, piece->length);
}

/* Have a connection, on which all is asked for that has not come. */
static void
connect_peer(PieceQueue *queue)
{
	if (queue->peer != NULL)
		return;
	if (queue->connection == NULL)
	{
		requester_begin();
		queue->connection = requester_open_peer(queue->run);
		requester_commit();
	}
	queue->peer = peer_connection_find(queue->connection);
	peer_pieces_begin(queue->peer);
	for (int i = 0; i < queue->n; i++)
		send_piece(queue, &queue->pieces[(queue->first + i) % QUEUE_PIECES]);
}

/* In PG_CATCH: what was lost is asked for again, on another connection. */
static void
survive_loss(PieceQueue *queue, MemoryContext context)
{
	disconnect(queue);
	fetch_survive_loss(queue->run->job, &queue->n_losses, context);
}

/* Ask for a piece, when the rate allows it. There has to be room. */
void
piece_queue_ask(PieceQueue *queue, const Piece *piece)
{
	MemoryContext context = CurrentMemoryContext;

	fetch_rate_wait(queue->rate, piece->length);
	queue->pieces[(queue->first + queue->n) % QUEUE_PIECES] = *piece;
	PG_TRY();
	{
		if (queue->peer != NULL)
			send_piece(queue, piece);
	}
	PG_CATCH();
	{
		survive_loss(queue, context);
	}
	PG_END_TRY();
	queue->n++;
	queue->bytes += piece->length;
}

/* Have the next piece read while the caller uses the last one. Nothing may be asked for before that has come. */
void
piece_queue_read_ahead(PieceQueue *queue)
{
	if (queue->n == 0 || queue->peer == NULL || queue->is_reading)
		return;
	peer_piece_expect(queue->peer, queue->bytes);
	queue->is_reading = true;
}

/* Wait for a piece, of a connection that is made if there is none. */
static PGresult *
wait_for_piece(PieceQueue *queue, uint32 length)
{
	connect_peer(queue);
	piece_queue_read_ahead(queue);
	queue->is_reading = false;
	return peer_piece_answer(queue->peer, length);
}

/* Wait for the piece that was asked for first: its bytes, until the next one is waited for. */
const char *
piece_queue_next(PieceQueue *queue, Piece *piece)
{
	MemoryContext context = CurrentMemoryContext;

	PQclear(queue->result);
	queue->result = NULL;
	*piece = queue->pieces[queue->first];
	while (queue->result == NULL)
	{
		PG_TRY();
		{
			queue->result = wait_for_piece(queue, piece->length);
		}
		PG_CATCH();
		{
			survive_loss(queue, context);
		}
		PG_END_TRY();
	}
	MemoryContextSwitchTo(context);
	queue->first = (queue->first + 1) % QUEUE_PIECES;
	queue->n--;
	queue->bytes -= piece->length;
	queue->n_losses = 0;
	return PQgetvalue(queue->result, 0, 0);
}
