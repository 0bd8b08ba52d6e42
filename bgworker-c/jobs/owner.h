/*
 * owner.h
 *	  Fixed SQL statements run as the extension's owner, for our own
 *	  bookkeeping. Never text that a user or JavaScript could have shaped.
 */
#ifndef STEEP_OWNER_H
#define STEEP_OWNER_H

#include "postgres.h"

#include "base/sql_args.h"
#include "executor/spi.h"

typedef struct OwnerSession
{
	Oid saved_user;
	int saved_context;
	int guc_level;
} OwnerSession;

extern bool extension_is_installed(void);
extern Oid extension_owner(void);
extern void owner_wait_for_locks(void);
extern bool owner_can_lock(const char *table);
extern void owner_begin(OwnerSession *session);
extern void owner_end(OwnerSession *session);
extern uint64 owner_execute(const char *sql, int n, const SqlArg *args);
extern Datum owner_value(uint64 row, int column, bool *isnull);
extern char *owner_text(uint64 row, int column);

/* The same in a transaction of its own, for workers. */
extern void owner_begin_transaction(OwnerSession *session);
extern void owner_commit_transaction(OwnerSession *session);

#endif /* STEEP_OWNER_H */
