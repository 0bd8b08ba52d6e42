/*
 * peer_line.h
 *	  What libpq does, beside the process's own thread.
 */
#ifndef STEEP_PEER_LINE_H
#define STEEP_PEER_LINE_H

#include "postgres.h"

#include "libpq-fe.h"
#include "port/atomics.h"

typedef struct PeerLine PeerLine;

/* What a thread does with a line. It calls libpq only, and nothing of the server's. */
typedef void (*PeerWork)(PeerLine *line);

/* Why it did not do what it should. */
typedef enum PeerTrouble
{
	PEER_FINE = 0, /* or what libpq says of its connection */
	PEER_STOPPED,
	PEER_TOO_LARGE,
} PeerTrouble;

/* How often a thread looks whether it is to stop. */
#define PEER_LOOK_MS 50

/* More results of one query are looked at by nobody. */
#define MAX_RESULTS 16

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
	PGresult *results[MAX_RESULTS]; /* of one query */
	int n_results;
	uint64 received_before;
	size_t limit;  /* of what may come; 0 = any */
	size_t excess; /* of all answers, what was no value */
};

extern PeerLine *peer_line_create(const char *const *keywords, const char *const *values);
extern PGconn *peer_line_conn(PeerLine *line);
extern const PGresult *peer_line_result(PeerLine *line, int i);
extern PGresult *peer_line_take_result(PeerLine *line);
extern void peer_line_clear_results(PeerLine *line);
extern void peer_line_begin_answer(PeerLine *line, size_t limit);
extern bool peer_line_count(PeerLine *line, size_t used);

/* peer_work.c: kinds of work */
extern void peer_line_connect(PeerLine *line);
extern void peer_line_flush(PeerLine *line);
extern void peer_line_answer(PeerLine *line);
extern void peer_line_piece(PeerLine *line);
extern uint64 peer_received_bytes(PGconn *conn);

extern int peer_line_start(PeerLine *line, PeerWork work);
extern bool peer_line_is_done(PeerLine *line);
extern PeerTrouble peer_line_end(PeerLine *line);
extern bool peer_line_stop(PeerLine *line);
extern void peer_line_close(PeerLine *line);

#endif /* STEEP_PEER_LINE_H */
