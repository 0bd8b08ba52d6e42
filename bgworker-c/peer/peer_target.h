/*
 * peer_target.h
 *	  Where a connection to a peer goes, and who may make it.
 */
#ifndef STEEP_PEER_TARGET_H
#define STEEP_PEER_TARGET_H

#include "postgres.h"

#include "libpq-fe.h"

/* What libpq is told; both arrays end with NULL. */
typedef struct PeerTarget
{
	const char **keywords;
	const char **values;
} PeerTarget;

extern PeerTarget peer_target_of(const char *peer, bool is_server);
extern void peer_check_password_used(PGconn *conn);

#endif /* STEEP_PEER_TARGET_H */
