/*
 * frame_source.c
 *	  Reads stored frames for the decompressor.
 *
 * A frame's digest is only known to be right at its end, when most of it may
 * have been loaded already: the caller's transaction must not be committed
 * before all frames are read.
 */
#include "frame_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"

/* A source that lives as long as the process. */
FrameSource *
frame_source_create(void)
{
	FrameSource *source = palloc0_object(FrameSource);

	source->file = owned_fd_create(-1);
	source->digest = digest_create();
	return source;
}

/* Open a data file, unless it is the one at hand; it must be of this size. */
void
frame_source_open(FrameSource *source, int dirfd, const char *name, uint64 bytes)
{
	struct stat st;

	if (source->file->fd >= 0 && strcmp(source->name, name) == 0)
		return;
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

static void
begin_digest(FrameSource *source)
{
	if (!source->digesting)
		digest_restart(source->digest);
	source->digesting = true;
}

/* Compare the digest of the frame at hand, and go on to the next one. */
static void
end_frame(FrameSource *source)
{
	const ApplyFrame *frame = &source->frames[source->at];
	uint8 found[DIGEST_BYTES];

	begin_digest(source);
	if (pg_cryptohash_final(source->digest, found, DIGEST_BYTES) < 0)
		digest_fail(source->digest);
	if (memcmp(found, frame->sha256, DIGEST_BYTES) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("frame at offset " UINT64_FORMAT
							   " of snapshot file \"%s\" has changed: SHA-256 differs",
							   frame->offset, source->name),
						errhint("steep_repl.verify_snapshot(path) lists what is wrong.")));
	source->at++;
	source->done = 0;
	source->digesting = false;
}

/* A DecompressorSource: up to len bytes; 0 at the end of the last frame. */
size_t
frame_source_read(void *arg, void *buf, size_t len)
{
	FrameSource *source = arg;
	const ApplyFrame *frame;
	ssize_t got;

	while (source->at < source->n_frames && source->frames[source->at].stored_bytes == source->done)
		end_frame(source);
	if (source->at == source->n_frames)
		return 0;
	frame = &source->frames[source->at];
	begin_digest(source);
	do
	{
		CHECK_FOR_INTERRUPTS();
		got = pread(source->file->fd, buf, Min(len, frame->stored_bytes - source->done),
					(off_t) (frame->offset + source->done));
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read snapshot file \"%s\": %m", source->name)));
	if (got == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("snapshot file \"%s\" is truncated", source->name)));
	digest_add(source->digest, buf, got);
	source->done += got;
	return got;
}
