/*
 * large_object.h
 *	  Large objects into their files.
 */
#ifndef STEEP_LARGE_OBJECT_H
#define STEEP_LARGE_OBJECT_H

#include "frames/frame_pipeline.h"
#include "snapshot/data_file.h"
#include "text/row_text.h"

extern void large_object_copy(DataFile *file, FramePipeline *pipeline, RowSink add_bytes);

#endif /* STEEP_LARGE_OBJECT_H */
