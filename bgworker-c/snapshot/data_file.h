/*
 * data_file.h
 *	  The files that hold the tables' frames.
 */
#ifndef STEEP_DATA_FILE_H
#define STEEP_DATA_FILE_H

#include "postgres.h"

#include "snapshot/plan.h"

typedef struct DataFile
{
	SnapshotPlan *plan;
	uint32 table; /* index in the plan */
	int fd;
} DataFile;

extern void data_file_open(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table);
extern void data_file_write(const DataFile *file, const char *data, size_t len, uint64 offset);
extern void data_file_sync(const DataFile *file);
extern void data_file_close(DataFile *file);

#endif /* STEEP_DATA_FILE_H */
