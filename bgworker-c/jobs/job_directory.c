/*
 * job_directory.c
 *	  Makes the directory that a job writes, or finds the one that an earlier attempt
 *	  of it has made.
 */
#include "jobs/job_directory.h"

#include <sys/statvfs.h>

#include "access/xact.h"
#include "utils/wait_event.h"

static uint32 wait_event_directory = 0;

DirectoryMark
job_directory_mark(const SteepJob *job)
{
	DirectoryMark mark = {.operation_id = job->id, .database = job->database};

	strlcpy(mark.token, job->token, sizeof(mark.token));
	if (job->kind == JOB_FETCH)
		mark.reader = job->requester;
	return mark;
}

/* Check where the planner wants the directory, and make it; whether there was one of this job. */
static bool
find_or_make(JobRun *run, char *path)
{
	SteepJob *job = run->job;
	DirectoryMark mark = job_directory_mark(job);
	bool is_found;

	/* Recovery and drop_snapshot go by the path noted when the job was queued. */
	if (strcmp(directory_normalize(path), job->path) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("output_path \"%s\" is not the one that the job was queued with", path)));
	is_found = run->keeps_files && directory_bytes(job->path, &mark) >= 0;
	if (is_found)
	{
		directory_check_write_rights(path);
		run->dirfd = directory_open_marked(path, &mark);
		return true;
	}
	/* A job that is retried may have left something; if it cannot be removed, the check says so. */
	(void) directory_remove(job->path, &mark);
	directory_check_write(path);
	run->owns_directory = true;
	run->dirfd = directory_create(path, &mark);
	return false;
}

/* Make the job's directory, open in run->dirfd; true if an earlier attempt has made it, and left files to go on from. */
bool
job_directory_make(JobRun *run, char *path)
{
	bool volatile is_found = false;

	if (wait_event_directory == 0)
		wait_event_directory = WaitEventExtensionNew("SteepReplMakeDirectory");
	while (!job_begin_directory(run->job))
	{
		run_set_waiting(run,
						"waiting for another job at the same path, or the files that one left");
		run_wait(run, wait_event_directory);
	}
	run_set_waiting(run, NULL);
	PG_TRY();
	{
		StartTransactionCommand(); /* rights are looked up in catalogs */
		is_found = find_or_make(run, path);
		CommitTransactionCommand();
	}
	PG_FINALLY();
	{
		job_end_directory(run->job);
	}
	PG_END_TRY();
	return is_found;
}

/* As facts: so many bytes, under that name, and how many are free. 64-bit numbers cross as text. */
void
job_directory_report_space(JobRun *run, const char *name, uint64 bytes)
{
	struct statvfs fs;

	if (fstatvfs(run->dirfd, &fs) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read the free space of \"%s\": %m", run->job->path)));
	appendStringInfo(&run->facts,
					 "\"%s\":\"" UINT64_FORMAT "\",\"bytes_free\":\"" UINT64_FORMAT "\"", name,
					 bytes, (uint64) fs.f_bavail * fs.f_frsize);
}
