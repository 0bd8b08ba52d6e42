/*
 * peer_connection.h
 *	  Connections to the other database.
 */
#ifndef STEEP_PEER_CONNECTION_H
#define STEEP_PEER_CONNECTION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "libpq-fe.h"

/* What libpq is told; both arrays end with NULL. */
typedef struct PeerTarget
{
	const char **keywords;
	const char **values;
} PeerTarget;

typedef struct PeerConnection
{
	struct PeerConnection *next;
	uint32 number;          /* of this session, from 1 */
	PGconn *conn;           /* NULL once it was given up */
	TimestampTz deadline;   /* of what runs on it; 0 = none */
	uint64 received_before; /* bytes, before the present answer */
} PeerConnection;

/* peer_target.c */
extern PeerTarget peer_target_of(const char *peer, bool is_server);
extern void peer_check_password_used(PGconn *conn);

/* peer_connection.c */
extern PeerConnection *peer_connection_find(const char *name);
extern int peer_wait(PeerConnection *peer, int events);
extern void peer_begin_answer(PeerConnection *peer);
extern void peer_connection_drop(PeerConnection *peer);
extern char *peer_libpq_error(PGconn *conn);
extern char *peer_text(const char *text, size_t len);

#endif /* STEEP_PEER_CONNECTION_H */
