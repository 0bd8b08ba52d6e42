/*
 * frame_source.c
 *	  Reads stored frames for the decompressor.
 *
 * A frame's digest is only known to be right at its end, when most of it may
 * have been loaded already: the caller's transaction must not be committed
 * before all frames are read.
 */
#include "apply/frame_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A source that lives as long as the process. */
FrameSource *
frame_source_create(void)
{
	FrameSource *source = palloc0_object(FrameSource);

	source->file = owned_fd_create(-1);
	source->digest = digest_create();
	pg_atomic_init_u32(&source->is_stopped, 0);
	return source;
}

/* Open a data file, unless it is the one at hand; it must be of this size. */
void
frame_source_open(FrameSource *source, int dirfd, const char *name, uint64 bytes)
{
	struct stat st;

	if (source->file->fd >= 0 && strcmp(source->name, name) == 0)
		return;
	source->name[0] = '\0';
	owned_fd_set(source->file, openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
	if (source->file->fd < 0 && errno == ELOOP)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("snapshot file \"%s\" is a symbolic link", name)));
	if (source->file->fd < 0 || fstat(source->file->fd, &st) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not open snapshot file \"%s\": %m", name)));
	if (!S_ISREG(st.st_mode) || (uint64) st.st_size != bytes)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("snapshot file \"%s\" is not what the manifest says", name),
						errdetail("It has %lld bytes instead of " UINT64_FORMAT ".",
								  (long long) st.st_size, bytes)));
	strlcpy(source->name, name, sizeof(source->name));
}

/* Begin to read these frames of the open file. */
void
frame_source_begin(FrameSource *source, const ApplyFrame *frames, uint32 n_frames)
{
	source->frames = frames;
	source->n_frames = n_frames;
	source->at = 0;
	source->done = 0;
	source->digesting = false;
}

/* Whether a digest's call succeeded; if not, keep what it complains of. */
static bool
digested(FrameSource *source, int result, FrameError *error)
{
	if (result >= 0)
		return true;
	error->kind = FRAME_NO_DIGEST;
	error->reason = pg_cryptohash_error(source->digest);
	return false;
}

static bool
begin_digest(FrameSource *source, FrameError *error)
{
	if (!source->digesting && !digested(source, pg_cryptohash_init(source->digest), error))
		return false;
	source->digesting = true;
	return true;
}

/* Compare the digest of the frame at hand, and go on to the next one. */
static bool
end_frame(FrameSource *source, FrameError *error)
{
	const ApplyFrame *frame = &source->frames[source->at];
	uint8 found[DIGEST_BYTES];

	if (!begin_digest(source, error) ||
		!digested(source, pg_cryptohash_final(source->digest, found, DIGEST_BYTES), error))
		return false;
	if (memcmp(found, frame->sha256, DIGEST_BYTES) != 0)
	{
		error->kind = FRAME_CHANGED;
		error->offset = frame->offset;
		return false;
	}
	source->at++;
	source->done = 0;
	source->digesting = false;
	return true;
}

/* Read some of the frame at hand, and digest it. */
static size_t
read_stored(FrameSource *source, void *buf, size_t len, FrameError *error)
{
	const ApplyFrame *frame = &source->frames[source->at];
	ssize_t got;

	do
		got = pread(source->file->fd, buf, Min(len, frame->stored_bytes - source->done),
					(off_t) (frame->offset + source->done));
	while (got < 0 && errno == EINTR);
	if (got <= 0)
	{
		error->kind = got < 0 ? FRAME_UNREADABLE : FRAME_TRUNCATED;
		error->errnum = errno;
		return 0;
	}
	if (!digested(source, pg_cryptohash_update(source->digest, buf, got), error))
		return 0;
	source->done += got;
	return got;
}

/* A DecompressorSource, in whichever thread: nothing at the end of the last frame. */
size_t
frame_source_read(void *arg, void *buf, size_t len, FrameError *error)
{
	FrameSource *source = arg;

	if (pg_atomic_read_u32(&source->is_stopped) != 0)
	{
		error->kind = FRAME_STOPPED;
		return 0;
	}
	while (source->at < source->n_frames && source->frames[source->at].stored_bytes == source->done)
		if (!end_frame(source, error))
			return 0;
	if (source->at == source->n_frames || !begin_digest(source, error))
		return 0;
	return read_stored(source, buf, len, error);
}
