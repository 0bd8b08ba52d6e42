/*
 * table_rows.h
 *	  The rows of a table, or of a range of its blocks, as lines of COPY text.
 */
#ifndef STEEP_TABLE_ROWS_H
#define STEEP_TABLE_ROWS_H

#include "snapshot/plan.h"
#include "text/row_text.h"

extern void table_rows_select(const SnapshotPlan *plan, const PlanTable *table, RowSink sink);
extern void table_rows_read(const SnapshotPlan *plan, const PlanChunk *chunk, RowSink sink);

#endif /* STEEP_TABLE_ROWS_H */
