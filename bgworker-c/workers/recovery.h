/*
 * recovery.h
 *	  Jobs that nobody stands for any more.
 */
#ifndef STEEP_RECOVERY_H
#define STEEP_RECOVERY_H

#include "postgres.h"

extern void recovery_run(void);
extern void
recovery_fail_job(int64 id, const char *message, const char *sqlstate, const char *hint);

#endif /* STEEP_RECOVERY_H */
