/*
 * data_file.c
 *	  The files that hold the frames of tables and large objects.
 */
#include "snapshot/data_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/directory.h"
#include "jobs/worker.h"
#include "miscadmin.h"
#include "storage/fd.h"

/* How often it is looked whether another worker has made a file. */
#define MAKING_US 1000

/* What the file holds, for messages. */
static const char *
source_name(const DataFile *file)
{
	const char *name = plan_string(file->plan, file->plan->tables[file->table].qualified_name);

	return OidIsValid(file->object) ? psprintf("large object %u", file->object)
									: psprintf("table %s", name);
}

/* Raise what is wrong with a file; it is closed. */
static void
fail_open(DataFile *file, const char *name)
{
	int saved_errno = errno;

	data_file_close(file);
	errno = saved_errno;
	ereport(ERROR,
			(errcode_for_file_access(), errmsg("could not open snapshot file \"%s\": %m", name)));
}

/* Make the file, which must not be there: what somebody planted would be written through. */
static void
make_file(DataFile *file, int dirfd, const char *name)
{
	PlanTable *table = &file->plan->tables[file->table];
	struct stat st;

	file->fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->fd < 0 || fstat(file->fd, &st) != 0)
		fail_open(file, name);
	table->file_device = st.st_dev;
	table->file_inode = st.st_ino;
	pg_write_barrier();
	pg_atomic_write_u32(&table->file_state, PLAN_FILE_MADE);
}

/* Open the file that was made, and no other. */
static void
open_made_file(DataFile *file, int dirfd, const char *name)
{
	PlanTable *table = &file->plan->tables[file->table];
	struct stat st;

	/* If it fails there, the job does, and this process is ended. */
	while (pg_atomic_read_u32(&table->file_state) != PLAN_FILE_MADE)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(MAKING_US);
	}
	pg_read_barrier();
	file->fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (file->fd < 0 || fstat(file->fd, &st) != 0)
		fail_open(file, name);
	if ((uint64) st.st_dev == table->file_device && (uint64) st.st_ino == table->file_inode)
		return;
	data_file_close(file);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("snapshot file \"%s\" was replaced while the job ran", name)));
}

static void
begin(DataFile *file, SnapshotPlan *plan, uint32 table, Oid object, char *name)
{
	*file = (DataFile){.plan = plan, .table = table, .object = object, .fd = -1};
	plan_file_name(plan, &plan->tables[table], object, name);
}

/* Make the file of a large object, which must not be there either. */
void
data_file_make_object(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table, Oid object)
{
	char name[PLAN_FILE_NAME_LEN];

	begin(file, plan, table, object, name);
	file->fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->fd < 0)
		fail_open(file, name);
}

/* Open a table's file, which the first worker to do so makes. */
void
data_file_open(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table)
{
	uint32 expected = PLAN_FILE_ABSENT;
	char name[PLAN_FILE_NAME_LEN];

	begin(file, plan, table, InvalidOid, name);
	if (pg_atomic_compare_exchange_u32(&plan->tables[table].file_state, &expected, PLAN_FILE_BEGUN))
		make_file(file, dirfd, name);
	else
		open_made_file(file, dirfd, name);
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
							errmsg("could not write data of %s: %m", source_name(file))));
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
						errmsg("could not fsync data of %s: %m", source_name(file))));
}

void
data_file_close(DataFile *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

/* Open the file of a large object once more. */
static void
reopen_object(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table, Oid object)
{
	char name[PLAN_FILE_NAME_LEN];

	begin(file, plan, table, object, name);
	file->fd = openat(dirfd, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (file->fd < 0)
		fail_open(file, name);
}

/* Make the file of a table durable, or those of a batch of large objects. */
static void
sync_again(SteepJob *job, int dirfd, SnapshotPlan *plan, uint32 table)
{
	DataFile file;
	uint32 n_objects = plan->tables[table].n_objects;

	for (uint32 i = 0; i < Max(n_objects, 1); i++)
	{
		worker_check_cancel(job);
		if (n_objects > 0)
			reopen_object(&file, dirfd, plan, table, plan_batch(plan, &plan->tables[table])[i]);
		else
			data_file_open(&file, dirfd, plan, table);
		data_file_sync(&file);
		data_file_close(&file);
	}
}

/*
 * In no-journal file systems each fsync of a new file writes the directory,
 * too, if files were added to it since the last one; and every disk has more
 * to do if it is waited for after each small file. So the files that the
 * kernel is by now writing are waited for when no more are made. A file is
 * opened anew for that, as a checkpoint does.
 */
void
data_files_sync(SteepJob *job, int dirfd, SnapshotPlan *plan, const uint32 *tables, uint32 n)
{
	for (uint32 i = 0; i < n; i++)
	{
		sync_again(job, dirfd, plan, tables[i]);
		pg_atomic_fetch_add_u32(&job->counters.tables_durable, 1);
	}
}
