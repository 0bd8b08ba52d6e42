/*
 * peer_connection.h
 *	  Connections to the other database.
 */
#ifndef STEEP_PEER_CONNECTION_H
#define STEEP_PEER_CONNECTION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "peer/peer_line.h"

typedef struct PeerConnection
{
	struct PeerConnection *next;
	uint32 number;              /* of this session, from 1 */
	Oid role;                   /* whose it is */
	SubTransactionId opened_in; /* until that has committed; it is closed when that aborts */
	PeerLine *line;             /* NULL once it was given up */
	TimestampTz deadline;       /* of what runs on it; 0 = none */
} PeerConnection;

extern PeerConnection *peer_connection_find(const char *name);
extern void peer_start(PeerConnection *peer, PeerWork work);
extern void peer_finish(PeerConnection *peer);
extern void peer_run(PeerConnection *peer, PeerWork work);
extern void peer_connection_drop(PeerConnection *peer);
extern char *peer_libpq_error(PGconn *conn);
extern ErrorData *peer_error_of(PeerConnection *peer, const PGresult *result);
pg_noreturn extern void peer_raise(const ErrorData *error);
extern char *peer_text(const char *text, size_t len);

#endif /* STEEP_PEER_CONNECTION_H */
