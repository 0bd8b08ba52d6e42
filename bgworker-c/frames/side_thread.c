/*
 * side_thread.c
 *	  A thread beside the process's own.
 *
 * The server's code is for one thread, so this one runs none of it: it calls
 * libraries, and the digest, on memory that the process leaves alone
 * meanwhile.  It gets no signals, raises no errors, and has ended before the
 * process exits.
 */
#include "frames/side_thread.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "storage/ipc.h"
#include "storage/spin.h"

static pthread_t thread;
static SideThreadStop stop_running;

/*
 * Whether there are more cores than workers of the job. Elsewhere two threads
 * of a worker only take the cache from each other.
 */
bool
side_thread_pays(int n_workers)
{
	static long n_cores = 0;

	if (n_cores == 0)
		n_cores = sysconf(_SC_NPROCESSORS_ONLN);
	return n_workers < n_cores;
}

/* Libraries clean up at exit what the thread may be using. */
static void
end_thread(int code, Datum arg)
{
	stop_running();
	pthread_join(thread, NULL);
}

/* Start the thread, one a process; false when the system refuses. */
bool
side_thread_start(SideThreadRun run, SideThreadStop stop)
{
	sigset_t all;
	sigset_t previous;
	int result;

	/* The thread inherits the mask: the server's handlers are for its own thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &previous);
	result = pthread_create(&thread, NULL, run, NULL);
	pthread_sigmask(SIG_SETMASK, &previous, NULL);
	if (result != 0)
		return false;
	stop_running = stop;
	before_shmem_exit(end_thread, (Datum) 0);
	return true;
}
