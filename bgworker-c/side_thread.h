/*
 * side_thread.h
 *	  A thread beside the process's own.
 */
#ifndef STEEP_SIDE_THREAD_H
#define STEEP_SIDE_THREAD_H

#include "shared_state.h"

/* What the thread runs, and what makes it return soon. */
typedef void *(*SideThreadRun)(void *arg);
typedef void (*SideThreadStop)(void);

extern bool side_thread_pays(SteepJob *job);
extern bool side_thread_start(SideThreadRun run, SideThreadStop stop);

#endif /* STEEP_SIDE_THREAD_H */
