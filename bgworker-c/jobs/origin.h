/*
 * origin.h
 *	  The replication origin that changes carry.
 */
#ifndef STEEP_ORIGIN_H
#define STEEP_ORIGIN_H

#include "postgres.h"

#include "replication/origin.h"
#include "base/compat.h"

extern bool origin_may_be_set(void);
extern void origin_begin(ReplOriginId origin);
extern void origin_end(void);
extern void origin_join(ReplOriginId origin, int pid);
extern ReplOriginId origin_take(void);

#endif /* STEEP_ORIGIN_H */
