/*
 * peer_line.h
 *	  What libpq does, beside the process's own thread.
 */
#ifndef STEEP_PEER_LINE_H
#define STEEP_PEER_LINE_H

#include "postgres.h"

#include "libpq-fe.h"

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

extern PeerLine *peer_line_create(const char *const *keywords, const char *const *values);
extern PGconn *peer_line_conn(PeerLine *line);
extern PGresult *peer_line_result(PeerLine *line);
extern void peer_line_begin_answer(PeerLine *line, size_t limit);
extern bool peer_line_count(PeerLine *line, size_t used);

/* Kinds of work. */
extern void peer_line_connect(PeerLine *line);
extern void peer_line_flush(PeerLine *line);
extern void peer_line_answer(PeerLine *line);

extern int peer_line_start(PeerLine *line, PeerWork work);
extern bool peer_line_is_done(PeerLine *line);
extern PeerTrouble peer_line_end(PeerLine *line);
extern bool peer_line_stop(PeerLine *line);
extern void peer_line_close(PeerLine *line);

#endif /* STEEP_PEER_LINE_H */
