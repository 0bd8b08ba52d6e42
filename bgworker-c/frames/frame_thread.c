/*
 * frame_thread.c
 *	  The thread that completes frames beside the process's own.
 */
#include "postgres.h"

#include <pthread.h>

#include "frames/frame_thread.h"
#include "frames/side_thread.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* A ring, guarded by the mutex: frames are completed, and collected, in the order in which they came. */
static FrameWriter *frames[THREAD_FRAMES];
static uint64 n_submitted = 0;
static uint64 n_completed = 0;
static uint64 n_collected = 0;
static bool stopping = false;

static void *
run_thread(void *arg)
{
	pthread_mutex_lock(&mutex);
	for (;;)
	{
		FrameWriter *writer;

		while (n_completed == n_submitted && !stopping)
			pthread_cond_wait(&changed, &mutex);
		if (stopping)
			break;
		writer = frames[n_completed % THREAD_FRAMES];
		pthread_mutex_unlock(&mutex);
		frame_writer_complete(writer);
		pthread_mutex_lock(&mutex);
		n_completed++;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

static void
stop_thread(void)
{
	pthread_mutex_lock(&mutex);
	stopping = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

/* Start the thread, one a process; false when the system refuses. */
bool
frame_thread_start(void)
{
	return side_thread_start(run_thread, stop_thread);
}

/* Give the thread a prepared frame to complete; at most THREAD_FRAMES that are not collected. */
void
frame_thread_submit(FrameWriter *writer)
{
	pthread_mutex_lock(&mutex);
	Assert(n_submitted - n_collected < THREAD_FRAMES);
	frames[n_submitted++ % THREAD_FRAMES] = writer;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

/*
 * The next frame, if it is complete. To wait takes well under a second; then
 * NULL means that there is none.
 */
FrameWriter *
frame_thread_collect(bool wait)
{
	FrameWriter *writer = NULL;

	pthread_mutex_lock(&mutex);
	while (wait && n_collected == n_completed && n_completed < n_submitted)
		pthread_cond_wait(&changed, &mutex);
	if (n_collected < n_completed)
		writer = frames[n_collected++ % THREAD_FRAMES];
	pthread_mutex_unlock(&mutex);
	return writer;
}
