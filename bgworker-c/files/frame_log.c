/*
 * frame_log.c
 *	  A temporary file a copier, that lists the frames it wrote. In files and
 *	  not in a table: a snapshot of a terabyte has some 130,000 frames, which
 *	  would be so much WAL and bloat in the database being copied.
 */
#include "files/frame_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/directory.h"
#include "storage/fd.h"

static void
log_name(int number, char *name)
{
	snprintf(name, NAMEDATALEN, FRAME_LOG_PREFIX "%d", number);
}

static void
report(const char *what)
{
	ereport(ERROR,
			(directory_write_errcode(), errmsg("could not %s the list of frames: %m", what)));
}

FrameLog *
frame_log_create(int dirfd, int number)
{
	FrameLog *log = palloc0_object(FrameLog);
	char name[NAMEDATALEN];

	log_name(number, name);
	log->file = owned_fd_create(
		openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
	if (log->file->fd < 0)
		report("create");
	return log;
}

static void
flush(FrameLog *log)
{
	const char *p = (const char *) log->buffer;
	size_t left = log->n * sizeof(FrameRecord);

	while (left > 0)
	{
		ssize_t n = write(log->file->fd, p, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;
			report("write");
		}
		p += n;
		left -= n;
	}
	log->n = 0;
}

void
frame_log_add(FrameLog *log, const FrameRecord *record)
{
	log->buffer[log->n++] = *record;
	if (log->n == lengthof(log->buffer))
		flush(log);
}

void
frame_log_close(FrameLog *log)
{
	flush(log);
	owned_fd_close(log->file);
	pfree(log);
}

static int
by_table_and_offset(const void *a, const void *b)
{
	const FrameRecord *x = a;
	const FrameRecord *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Append one log's records to an array that has room for them. */
static uint64
read_log(int fd, FrameRecord *records, uint64 bytes)
{
	char *p = (char *) records;
	uint64 done = 0;

	while (done < bytes)
	{
		ssize_t n = read(fd, p + done, bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			report("read");
		done += n;
	}
	return done / sizeof(FrameRecord);
}

/* All frames of all copiers, by table and offset. */
FrameRecord *
frame_log_read(int dirfd, int n_logs, uint64 *n_records)
{
	FrameRecord *records = palloc_extended(sizeof(FrameRecord), MCXT_ALLOC_HUGE);
	OwnedFd *file = owned_fd_create(-1);

	*n_records = 0;
	for (int i = 0; i < n_logs; i++)
	{
		char name[NAMEDATALEN];
		struct stat st;

		log_name(i, name);
		owned_fd_set(file, openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
		if (file->fd < 0 && errno == ENOENT)
			continue; /* this copier found nothing to do */
		if (file->fd < 0 || fstat(file->fd, &st) != 0)
			report("open");
		records = repalloc_huge(records, (*n_records + 1) * sizeof(FrameRecord) + st.st_size);
		*n_records += read_log(file->fd, records + *n_records, st.st_size);
		owned_fd_close(file);
	}
	qsort(records, *n_records, sizeof(FrameRecord), by_table_and_offset);
	return records;
}

void
frame_log_remove(int dirfd, int n_logs)
{
	for (int i = 0; i < n_logs; i++)
	{
		char name[NAMEDATALEN];

		log_name(i, name);
		if (unlinkat(dirfd, name, 0) != 0 && errno != ENOENT)
			report("remove");
	}
}
