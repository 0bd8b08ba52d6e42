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
extern void job_directory_report_space(JobRun *run, const char *name, uint64 bytes);

#endif /* STEEP_JOB_DIRECTORY_H */
