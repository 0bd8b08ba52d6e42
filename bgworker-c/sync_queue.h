/*
 * sync_queue.h
 *	  Small files that are written and wait for their fsync.
 */
#ifndef STEEP_SYNC_QUEUE_H
#define STEEP_SYNC_QUEUE_H

#include "postgres.h"

/* A file is durable when it has been counted. */
typedef void (*FileSynced)(void);

extern void sync_queue_add(int fd, FileSynced synced);
extern void sync_queue_drain(FileSynced synced);
extern void sync_now(int fd, FileSynced synced);

#endif /* STEEP_SYNC_QUEUE_H */
