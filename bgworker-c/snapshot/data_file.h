/*
 * data_file.h
 *	  The files that hold the frames of tables and large objects.
 */
#ifndef STEEP_DATA_FILE_H
#define STEEP_DATA_FILE_H

#include "postgres.h"

#include "snapshot/plan.h"

typedef struct DataFile
{
	SnapshotPlan *plan;
	uint32 table; /* index in the plan */
	Oid object;   /* of a batch of large objects: the one whose file it is */
	uint64 end;   /* of its file, which one worker alone writes */
	bool has_frame;
	int fd;
} DataFile;

extern void data_file_open(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table);
extern void
data_file_make_object(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table, Oid object);
extern void
data_file_reopen_object(DataFile *file, int dirfd, SnapshotPlan *plan, uint32 table, Oid object);
extern void data_file_write(const DataFile *file, const char *data, size_t len, uint64 offset);
extern void data_file_sync(const DataFile *file);
extern void data_file_close(DataFile *file);
extern void
data_files_sync(SteepJob *job, int dirfd, SnapshotPlan *plan, const uint32 *tables, uint32 n);

#endif /* STEEP_DATA_FILE_H */
