/*
 * databases.h
 *	  The databases that the launcher has to look into, and their dispatchers.
 */
#ifndef STEEP_DATABASES_H
#define STEEP_DATABASES_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* A worker that cannot start is tried again after this many ms. */
#define LAUNCHER_RETRY_MS 500

extern void databases_want(Oid oid, TimestampTz when);
extern void databases_want_all(void);
extern void databases_retry_now(void);
extern void databases_reap(void);
extern void databases_start_dispatchers(void);
extern long databases_sleep_ms(void);

#endif /* STEEP_DATABASES_H */
