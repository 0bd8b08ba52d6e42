/*
 * peer_secret.h
 *	  Connection strings of queued jobs: in shared memory only, so that a
 *	  password never reaches a table, the WAL or a log.
 */
#ifndef STEEP_PEER_SECRET_H
#define STEEP_PEER_SECRET_H

#include "postgres.h"

#define PEER_SECRETS 64          /* jobs that wait or run with a connection string */
#define PEER_SECRETS_PER_ROLE 16 /* of them, of one role that is no superuser */
#define PEER_SECRETS_RESERVED 16 /* of them, for superusers */
#define PEER_SECRET_LEN 2048     /* of one, with its NUL */

typedef struct PeerSecret
{
	int64 id; /* of the job; 0 = free */
	Oid database;
	Oid role;       /* who gave it */
	bool committed; /* the job's row is */
	char conninfo[PEER_SECRET_LEN];
} PeerSecret;

extern void peer_secret_keep(int64 id, Oid database, const char *conninfo);
extern void peer_secret_commit(int64 id);
extern void peer_secret_forget(int64 id);
extern char *peer_secret_find(int64 id);
extern int peer_secret_ids(Oid database, int64 *ids);

#endif /* STEEP_PEER_SECRET_H */
