/*
 * job_directory.h
 *	  The directory that a job writes.
 */
#ifndef STEEP_JOB_DIRECTORY_H
#define STEEP_JOB_DIRECTORY_H

#include "files/directory.h"
#include "jobs/run.h"

extern DirectoryMark job_directory_mark(const SteepJob *job);
extern bool job_directory_make(JobRun *run, char *path);

#endif /* STEEP_JOB_DIRECTORY_H */
