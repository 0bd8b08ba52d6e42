/*
 * side_thread.h
 *	  A thread beside the process's own.
 */
#ifndef STEEP_SIDE_THREAD_H
#define STEEP_SIDE_THREAD_H

#include "postgres.h"

/* What the thread runs, and what makes it return soon. */
typedef void *(*SideThreadRun)(void *arg);
typedef void (*SideThreadStop)(void);

/* How many processes of the job work now, this one among them. */
typedef int (*CountWorkers)(void);

extern bool side_thread_pays(int n_workers);
extern bool side_thread_start(SideThreadRun run, SideThreadStop stop);

#endif /* STEEP_SIDE_THREAD_H */
