/*
 * piece_queue.h
 *	  Pieces that were asked for and have not come yet.
 */
#ifndef STEEP_PIECE_QUEUE_H
#define STEEP_PIECE_QUEUE_H

#include "fetch/fetch_plan.h"
#include "peer/peer_connection.h"

#define PIECE_BYTES ((uint32) 1024 * 1024)

/* Under way on one connection: what 40 ms of a line of 3 Gbit/s hold. */
#define QUEUE_PIECES 64
#define QUEUE_BYTES ((size_t) 16 * 1024 * 1024)

typedef struct Piece
{
	const char *file;
	uint64 offset;
	uint32 length;
	FetchBatch *batch; /* of the plan; NULL = of the manifest */
	uint64 frame;
} Piece;

typedef struct PieceQueue
{
	JobRun *run;
	const char *path; /* of the snapshot, at the peer */
	FetchRate *rate;
	char *connection; /* its name, NULL = none */
	PeerConnection *peer;
	Piece pieces[QUEUE_PIECES]; /* a ring */
	int first;
	int n;
	size_t bytes;     /* of all of them */
	int n_losses;     /* of the connection, since the last piece came */
	bool is_reading;  /* the next piece, beside us */
	PGresult *result; /* the last piece */
} PieceQueue;

extern PieceQueue *
piece_queue_create(JobRun *run, const char *path, FetchRate *rate, char *connection);
extern bool piece_queue_has_room(PieceQueue *queue);
extern void piece_queue_ask(PieceQueue *queue, const Piece *piece);
extern const char *piece_queue_next(PieceQueue *queue, Piece *piece);
extern void piece_queue_read_ahead(PieceQueue *queue);

#endif /* STEEP_PIECE_QUEUE_H */
