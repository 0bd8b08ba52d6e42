/*
 * job_remains.h
 *	  What a job has left outside of its rows: a directory, a slot.
 */
#ifndef STEEP_JOB_REMAINS_H
#define STEEP_JOB_REMAINS_H

#include "access/xlogdefs.h"
#include "files/directory.h"

typedef struct JobRemains
{
	char path[MAXPGPATH]; /* empty = none */
	DirectoryMark mark;
	char slot_name[NAMEDATALEN]; /* empty = none */
	XLogRecPtr slot_lsn;
} JobRemains;

/* From our private table; between owner_begin and owner_end. */
extern bool job_remains_find(int64 id, JobRemains *remains);
extern void job_remains_forget(int64 id);

extern int64 job_slot_retained_bytes(const JobRemains *remains);
extern bool job_slot_drop(const JobRemains *remains);

#endif /* STEEP_JOB_REMAINS_H */
