/*
 * peer_secret.h
 *	  Connection strings of queued jobs: in shared memory only, so that a
 *	  password never reaches a table, the WAL or a log.
 */
#ifndef STEEP_PEER_SECRET_H
#define STEEP_PEER_SECRET_H

#include "postgres.h"

extern void peer_secret_keep(int64 id, Oid database, const char *conninfo);
extern void peer_secret_commit(int64 id);
extern void peer_secret_forget(int64 id);
extern char *peer_secret_find(int64 id);
extern int peer_secret_ids(Oid database, int64 *ids);

#endif /* STEEP_PEER_SECRET_H */
