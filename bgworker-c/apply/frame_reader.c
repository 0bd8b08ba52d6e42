/*
 * frame_reader.c
 *	  The raw bytes of stored frames, decompressed ahead of their use.
 *
 * pg_restore decompresses in its own process while a backend loads rows.  So a
 * thread reads, digests and decompresses while this process loads.  What it is
 * ahead is a ring of pieces.  A few rows are not worth waking it.
 */
#include "apply/frame_reader.h"

#include <pthread.h>
#include <time.h>

#include "frames/decompressor.h"
#include "apply/frame_source.h"
#include "miscadmin.h"
#include "frames/side_thread.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define PIECE_BYTES ((size_t) 256 * 1024)
#define N_PIECES 4

#define WAIT_NS (100L * 1000 * 1000)
#define NS_PER_S (1000L * 1000 * 1000)

/* The thread has source, decompressor and error while the ring is busy. */
static struct
{
	CountWorkers n_workers;
	FrameSource *source;
	Decompressor *decompressor;
	FrameError error;
	bool threaded; /* these frames */
	bool ended;    /* no more pieces will come */
	size_t taken;  /* of the first piece in the ring */
} reader;

static struct
{
	bool is_started;
	bool is_refused; /* by the system */
	pthread_mutex_t mutex;
	pthread_cond_t changed;

	/* guarded by the mutex; pieces from n_taken to n_filled are for this side, the others for the thread */
	bool reading; /* there is more to fill pieces with */
	bool busy;    /* the thread fills one */
	bool stopping;
	uint64 n_filled;
	uint64 n_taken;
	size_t lengths[N_PIECES];
	char *pieces[N_PIECES];
} ring = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* Prepare this worker; what it makes lives in CurrentMemoryContext, as long as the worker. */
void
frame_reader_init(CountWorkers n_workers, Codec codec)
{
	reader.n_workers = n_workers;
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
	pg_atomic_write_u32(&reader.source->is_stopped, 1);
	pthread_mutex_lock(&ring.mutex);
	ring.stopping = true;
	pthread_cond_broadcast(&ring.changed);
	pthread_mutex_unlock(&ring.mutex);
}

/* Whether there is a thread, and started if not. */
static bool
has_thread(void)
{
	if (ring.is_started || ring.is_refused)
		return ring.is_started;
	for (int i = 0; i < N_PIECES; i++)
		ring.pieces[i] = MemoryContextAlloc(TopMemoryContext, PIECE_BYTES);
	ring.is_started = side_thread_start(run_thread, stop_thread);
	ring.is_refused = !ring.is_started;
	return ring.is_started;
}

/* Have the thread read the frames that were begun. */
static void
begin_thread(void)
{
	pthread_mutex_lock(&ring.mutex);
	ring.reading = true;
	pthread_cond_broadcast(&ring.changed);
	pthread_mutex_unlock(&ring.mutex);
}

/* Have the thread leave frames that a failed attempt did not read to their end. */
static void
abandon(void)
{
	pg_atomic_write_u32(&reader.source->is_stopped, 1);
	pthread_mutex_lock(&ring.mutex);
	ring.reading = false;
	while (ring.busy)
		pthread_cond_wait(&ring.changed, &ring.mutex);
	ring.n_taken = ring.n_filled;
	pthread_mutex_unlock(&ring.mutex);
	pg_atomic_write_u32(&reader.source->is_stopped, 0);
}

/* A DecompressorSource for this side. */
static size_t
read_here(void *arg, void *buf, size_t len, FrameError *error)
{
	CHECK_FOR_INTERRUPTS();
	return frame_source_read(arg, buf, len, error);
}

/* Begin on these frames of a data file, which hold so many raw bytes. */
void
frame_reader_begin(int dirfd, const char *name, uint64 file_bytes, const ApplyFrame *frames,
				   uint32 n_frames, uint64 raw_bytes)
{
	abandon();
	reader.error = (FrameError){FRAME_SOUND};
	reader.ended = false;
	reader.taken = 0;
	reader.threaded =
		raw_bytes > 2 * PIECE_BYTES && side_thread_pays(reader.n_workers()) && has_thread();
	frame_source_open(reader.source, dirfd, name, file_bytes);
	frame_source_begin(reader.source, frames, n_frames);
	decompressor_begin(reader.decompressor, reader.threaded ? frame_source_read : read_here,
					   reader.source);
	if (reader.threaded)
		begin_thread();
}

/* Wait for the thread, for a moment; with the mutex. */
static void
wait_a_moment(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += WAIT_NS;
	until.tv_sec += until.tv_nsec / NS_PER_S;
	until.tv_nsec %= NS_PER_S;
	(void) pthread_cond_timedwait(&ring.changed, &ring.mutex, &until);
}

/* Whether the thread has filled a piece, after a moment if not at once. */
static bool
has_piece(size_t *len)
{
	bool found;

	pthread_mutex_lock(&ring.mutex);
	if (ring.n_filled == ring.n_taken)
		wait_a_moment();
	found = ring.n_filled > ring.n_taken;
	if (found)
		*len = ring.lengths[ring.n_taken % N_PIECES];
	pthread_mutex_unlock(&ring.mutex);
	return found;
}

/* Wait until the thread has filled a piece: frames may take long that decompress to nothing. */
static size_t
await_piece(void)
{
	static uint32 wait_event = 0;
	size_t len;

	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("SteepReplFrameRead");
	pgstat_report_wait_start(wait_event);
	while (!has_piece(&len))
		CHECK_FOR_INTERRUPTS();
	pgstat_report_wait_end();
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
