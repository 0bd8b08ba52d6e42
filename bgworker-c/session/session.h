/*
 * session.h
 *	  What sessions have to be told when the library is loaded, and when they queue a job.
 */
#ifndef STEEP_SESSION_H
#define STEEP_SESSION_H

#include "postgres.h"

/* apply_errors.c */
extern void apply_errors_init(void);

/* error_context.c */
extern void error_context_init(void);

/* lock_guard.c */
extern void lock_guard_init(void);

/* trusted_code.c */
extern void trusted_code_init(void);

/* enqueue.c */
extern void queue_wake_init(void);
extern void queue_wake_at_commit(int64 id);
extern void queue_require_launcher(void);
extern bool queue_has(int64 id);

#endif /* STEEP_SESSION_H */
