/*
 * sync_queue.c
 *	  Small files that are written and wait for their fsync.
 *
 * An fsync right after the write waits for the disk.  Here the kernel is told
 * to begin writing, and asked for the result a few dozen files later, when it
 * is mostly done.  The queue is short, so that descriptors stay few and the
 * count of finished tables does not lag far behind.
 */
#include "sync_queue.h"

#include <unistd.h>

#include "storage/fd.h"

#define QUEUE_LENGTH 64

static int queue[QUEUE_LENGTH];
static uint64 n_added = 0;
static uint64 n_synced = 0;

/* Make a file durable. A failed fsync is never retried: the job fails and the file goes. */
void
sync_now(int fd, FileSynced synced)
{
	if (pg_fsync(fd) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not fsync snapshot file: %m")));
	close(fd);
	synced();
}

static void
sync_oldest(FileSynced synced)
{
	sync_now(queue[n_synced % QUEUE_LENGTH], synced);
	ReleaseExternalFD();
	n_synced++;
}

/* Take over a written file. */
void
sync_queue_add(int fd, FileSynced synced)
{
	if (n_added - n_synced == QUEUE_LENGTH)
		sync_oldest(synced);
	pg_flush_data(fd, 0, 0);
	ReserveExternalFD();
	queue[n_added++ % QUEUE_LENGTH] = fd;
}

/* Make all that wait durable. */
void
sync_queue_drain(FileSynced synced)
{
	while (n_synced < n_added)
		sync_oldest(synced);
}
