/*
 * frame_thread.c
 *	  The thread that completes frames beside the process's own.
 *
 * The server's code is for one thread, so this one runs none of it: it calls
 * the compression library and the digest on memory that the process leaves
 * alone meanwhile.  It gets no signals, raises no errors, and has ended before
 * the process exits.
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>

#include "frame_thread.h"
#include "portability/instr_time.h"
#include "storage/ipc.h"

static pthread_t thread;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

/* guarded by the mutex */
static FrameWriter *task = NULL; /* NULL = idle */
static bool stopping = false;
static double duration; /* ms that the last frame took */

static void *
run_thread(void *arg)
{
	pthread_mutex_lock(&mutex);
	for (;;)
	{
		instr_time start;
		instr_time end;

		while (task == NULL && !stopping)
			pthread_cond_wait(&changed, &mutex);
		if (task == NULL)
			break;
		pthread_mutex_unlock(&mutex);
		INSTR_TIME_SET_CURRENT(start);
		frame_writer_complete(task);
		INSTR_TIME_SET_CURRENT(end);
		INSTR_TIME_SUBTRACT(end, start);
		pthread_mutex_lock(&mutex);
		duration = INSTR_TIME_GET_MILLISEC(end);
		task = NULL;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&mutex);
	return NULL;
}

/* Libraries clean up at exit what the thread may be using. */
static void
stop_thread(int code, Datum arg)
{
	pthread_mutex_lock(&mutex);
	stopping = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, NULL);
}

/* Start the thread, one a process; false when the system refuses. */
bool
frame_thread_start(void)
{
	sigset_t all;
	sigset_t previous;
	int result;

	/* The thread inherits the mask: the server's handlers are for its own thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &previous);
	result = pthread_create(&thread, NULL, run_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
	if (result == 0)
		before_shmem_exit(stop_thread, (Datum) 0);
	return result == 0;
}

/* Give the idle thread a prepared frame to complete. */
void
frame_thread_submit(FrameWriter *writer)
{
	pthread_mutex_lock(&mutex);
	Assert(task == NULL);
	task = writer;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

bool
frame_thread_is_idle(void)
{
	bool idle;

	pthread_mutex_lock(&mutex);
	idle = task == NULL;
	pthread_mutex_unlock(&mutex);
	return idle;
}

/* Wait until the thread is idle; for one frame at most, which takes well under a second. */
void
frame_thread_wait(void)
{
	pthread_mutex_lock(&mutex);
	while (task != NULL)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
}

/* How many ms the last frame took; of an idle thread. */
double
frame_thread_duration(void)
{
	return duration;
}
