/*
 * data_file.c
 *	  The files that hold the tables' frames.
 */
#include "data_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "directory.h"
#include "storage/fd.h"

static const char *
table_name(const DataFile *file)
{
	return plan_string(file->plan, file->plan->tables[file->table].qualified_name);
}

static void
open_file(DataFile *file, int dirfd, const SnapshotPlan *plan, uint32 table, int flags)
{
	char name[64];

	file->plan = plan;
	file->table = table;
	snprintf(name, sizeof(name), "%d.dat%s", plan->tables[table].dump_id,
			 codec_suffix(plan->codec));
	file->fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
	if (file->fd < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not open snapshot file \"%s\": %m", name)));
}

/* Open a table's file, which the first worker to do so makes. */
void
data_file_open(DataFile *file, int dirfd, const SnapshotPlan *plan, uint32 table)
{
	open_file(file, dirfd, plan, table, O_CREAT);
}

/* Open a file that has been written. */
void
data_file_reopen(DataFile *file, int dirfd, const SnapshotPlan *plan, uint32 table)
{
	open_file(file, dirfd, plan, table, 0);
}

void
data_file_write(const DataFile *file, const char *data, size_t len, uint64 offset)
{
	while (len > 0)
	{
		ssize_t n = pwrite(file->fd, data, Min(len, (size_t) 1 << 26), (off_t) offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			if (n == 0)
				errno = ENOSPC;
			ereport(ERROR, (directory_write_errcode(),
							errmsg("could not write data of table %s: %m", table_name(file))));
		}
		data += n;
		len -= n;
		offset += n;
	}
}

/* Make a file durable. A failed fsync is never retried: the job fails and the file goes. */
void
data_file_sync(const DataFile *file)
{
	if (pg_fsync(file->fd) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not fsync data of table %s: %m", table_name(file))));
}

void
data_file_close(DataFile *file)
{
	close(file->fd);
	file->fd = -1;
}
