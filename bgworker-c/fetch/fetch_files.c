/*
 * fetch_files.c
 *	  The files that a fetch writes.
 *
 * The coordinator makes them; workers write to no others, so that nothing is written
 * through a link that somebody has put there. Frames that are there and right stay: what
 * says so is their digest, and no mark that could be wrong after a crash.
 */
#include "fetch/fetch_plan.h"

#include <fcntl.h>
#include <unistd.h>

#include "files/directory.h"
#include "miscadmin.h"
#include "storage/fd.h"

#define READ_STEP ((size_t) 256 * 1024)

pg_noreturn static void
could_not_write(const FetchFile *file)
{
	ereport(ERROR, (directory_write_errcode(),
					errmsg("could not write snapshot file \"%s\": %m", file->name)));
}

/* Make a file, or find the one of an earlier attempt. */
static void
make_file(int dirfd, FetchFile *file)
{
	int fd =
		openat(dirfd, file->name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;
	bool is_ours;

	if (fd < 0)
		could_not_write(file);
	is_ours =
		fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 && st.st_uid == geteuid();
	close(fd);
	if (!is_ours)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("snapshot file \"%s\" is not one that this job has made", file->name),
				 errhint("Somebody else writes to the directory. Remove the file.")));
	file->device = st.st_dev;
	file->inode = st.st_ino;
}

void
fetch_make_files(JobRun *run)
{
	FetchPlan *plan = run->fetch->plan;

	for (uint32 i = 0; i < plan->n_files; i++)
	{
		CHECK_FOR_INTERRUPTS();
		make_file(run->dirfd, &fetch_files(plan)[i]);
	}
	if (directory_sync_entries(run->dirfd) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not fsync directory \"%s\": %m", run->job->path)));
}

/* Open a file that the coordinator has made. */
int
fetch_open_file(int dirfd, const FetchFile *file)
{
	int fd = openat(dirfd, file->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		could_not_write(file);
	if (fstat(fd, &st) == 0 && st.st_dev == file->device && st.st_ino == file->inode)
		return fd;
	close(fd);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("snapshot file \"%s\" was replaced", file->name)));
}

/* Whether a frame is in its file already, and right. What cannot be read is not. */
bool
fetch_frame_is_here(int fd, const FetchFrame *frame)
{
	static char buffer[READ_STEP];
	pg_cryptohash_ctx *ctx;
	uint8 found[DIGEST_BYTES];
	struct stat st;
	uint64 done = 0;

	if (fstat(fd, &st) != 0 || (uint64) st.st_size < frame->offset + frame->stored_bytes)
		return false;
	ctx = digest_begin();
	while (done < frame->stored_bytes)
	{
		ssize_t got =
			pread(fd, buffer, Min(READ_STEP, frame->stored_bytes - done), frame->offset + done);

		CHECK_FOR_INTERRUPTS();
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		digest_add(ctx, buffer, got);
		done += got;
	}
	digest_end(ctx, found);
	return done == frame->stored_bytes && memcmp(found, frame->sha256, DIGEST_BYTES) == 0;
}

void
fetch_write(int fd, const FetchFile *file, uint64 offset, const char *data, uint32 length)
{
	while (length > 0)
	{
		ssize_t n = pwrite(fd, data, length, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			could_not_write(file);
		data += n;
		offset += n;
		length -= n;
	}
}

/* What an fsync has failed for may look right until the system is restarted: then the file is fetched anew. */
void
fetch_sync_file(int dirfd, int fd, const FetchFile *file)
{
	int saved_errno;

	if (pg_fsync(fd) == 0)
		return;
	saved_errno = errno;
	(void) unlinkat(dirfd, file->name, 0);
	errno = saved_errno;
	could_not_write(file);
}
