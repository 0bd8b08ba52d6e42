/*
 * frame_reader.c
 *	  The raw bytes of stored frames, decompressed ahead of their use.
 *
 * pg_restore decompresses in its own process while a backend loads rows.  So a
 * thread reads, digests and decompresses while this process loads.  What it is
 * ahead is a ring of pieces.  A few rows are not worth waking it.
 */
#include "frame_reader.h"

#include <pthread.h>

#include "decompressor.h"
#include "frame_source.h"
#include "miscadmin.h"
#include "side_thread.h"
#include "utils/memutils.h"

#define PIECE_BYTES ((size_t) 256 * 1024)
#define N_PIECES 4

/* The thread has source, decompressor and error while the ring is busy. */
static struct
{
	FrameSource *source;
	Decompressor *decompressor;
	FrameError error;
	bool threaded; /* these frames */
	bool ended;    /* no more pieces will come */
	size_t taken;  /* of the first piece in the ring */
} reader;

static struct
{
	bool started;
	pthread_mutex_t mutex;
	pthread_cond_t changed;

	/* guarded by the mutex: pieces from n_taken to n_filled are this process's, the others the thread's */
	bool reading; /* there is more to fill pieces with */
	bool busy;    /* the thread fills one */
	bool stopping;
	uint64 n_filled;
	uint64 n_taken;
	size_t lengths[N_PIECES];
	char *pieces[N_PIECES];
} ring = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* Prepare this worker; what it makes lives in CurrentMemoryContext, which must live as long as it does. */
void
frame_reader_init(Codec codec)
{
	reader.source = frame_source_create();
	reader.decompressor = decompressor_create(codec);
}

/* Fill pieces, one at a time, until the frames end; only the last is short. */
static void *
run_thread(void *arg)
{
	pthread_mutex_lock(&ring.mutex);
	while (!ring.stopping)
	{
		int i = ring.n_filled % N_PIECES;
		size_t len;

		if (!ring.reading || ring.n_filled - ring.n_taken == N_PIECES)
		{
			pthread_cond_wait(&ring.changed, &ring.mutex);
			continue;
		}
		ring.busy = true;
		pthread_mutex_unlock(&ring.mutex);
		len = decompressor_read(reader.decompressor, ring.pieces[i], PIECE_BYTES, &reader.error);
		pthread_mutex_lock(&ring.mutex);
		ring.busy = false;
		ring.lengths[i] = len;
		ring.n_filled++;
		if (len < PIECE_BYTES)
			ring.reading = false;
		pthread_cond_broadcast(&ring.changed);
	}
	pthread_mutex_unlock(&ring.mutex);
	return NULL;
}

static void
stop_thread(void)
{
	pthread_mutex_lock(&ring.mutex);
	ring.stopping = true;
	pthread_cond_broadcast(&ring.changed);
	pthread_mutex_unlock(&ring.mutex);
}

/* Have the thread read the frames that were begun; false when there is none to be had. */
static bool
begin_thread(void)
{
	if (!ring.started)
	{
		for (int i = 0; i < N_PIECES; i++)
			ring.pieces[i] = MemoryContextAlloc(TopMemoryContext, PIECE_BYTES);
		ring.started = side_thread_start(run_thread, stop_thread);
		if (!ring.started)
			return false;
	}
	pthread_mutex_lock(&ring.mutex);
	ring.reading = true;
	pthread_cond_broadcast(&ring.changed);
	pthread_mutex_unlock(&ring.mutex);
	return true;
}

/* Have the thread leave frames that a failed attempt did not read to their end. */
static void
abandon(void)
{
	pthread_mutex_lock(&ring.mutex);
	ring.reading = false;
	while (ring.busy)
		pthread_cond_wait(&ring.changed, &ring.mutex);
	ring.n_taken = ring.n_filled;
	pthread_mutex_unlock(&ring.mutex);
}

/* Begin on these frames of a data file. */
void
frame_reader_begin(int dirfd, const char *name, uint64 file_bytes, const ApplyFrame *frames,
				   uint32 n_frames)
{
	uint64 raw_bytes = 0;

	for (uint32 i = 0; i < n_frames; i++)
		raw_bytes += frames[i].raw_bytes;
	abandon();
	reader.error = (FrameError){FRAME_SOUND};
	reader.ended = false;
	reader.taken = 0;
	frame_source_open(reader.source, dirfd, name, file_bytes);
	frame_source_begin(reader.source, frames, n_frames);
	decompressor_begin(reader.decompressor, frame_source_read, reader.source);
	reader.threaded = raw_bytes > 2 * PIECE_BYTES && begin_thread();
}

/* Wait until the thread has filled a piece. */
static size_t
await_piece(void)
{
	size_t len;

	pthread_mutex_lock(&ring.mutex);
	while (ring.n_filled == ring.n_taken)
		pthread_cond_wait(&ring.changed, &ring.mutex);
	len = ring.lengths[ring.n_taken % N_PIECES];
	pthread_mutex_unlock(&ring.mutex);
	return len;
}

static void
give_back_piece(void)
{
	pthread_mutex_lock(&ring.mutex);
	ring.n_taken++;
	pthread_cond_broadcast(&ring.changed);
	pthread_mutex_unlock(&ring.mutex);
	reader.taken = 0;
}

/* Copy from the piece at hand. */
static size_t
take(char *buf, size_t room)
{
	size_t len = await_piece();
	size_t n = Min(room, len - reader.taken);

	memcpy(buf, ring.pieces[ring.n_taken % N_PIECES] + reader.taken, n);
	reader.taken += n;
	if (reader.taken == len)
	{
		reader.ended = len < PIECE_BYTES;
		give_back_piece();
	}
	return n;
}

/* Raise what was wrong, after the bytes that came before it. */
static void
check_error(void)
{
	if (reader.error.kind != FRAME_SOUND)
		frame_error_raise(&reader.error, reader.source->name);
}

/* Raw bytes: fewer than len only at the end, where all digests were found to be right. */
size_t
frame_reader_read(void *buf, size_t len)
{
	size_t done = 0;

	CHECK_FOR_INTERRUPTS();
	if (!reader.threaded)
	{
		done = decompressor_read(reader.decompressor, buf, len, &reader.error);
		check_error();
		return done;
	}
	while (done < len && !reader.ended)
	{
		CHECK_FOR_INTERRUPTS();
		done += take((char *) buf + done, len - done);
	}
	if (reader.ended)
		check_error();
	return done;
}
