/*
 * row_source.c
 *	  The rows of a query, as lines of COPY text.
 */
#include "text/row_source.h"

#include "executor/spi.h"
#include "tcop/dest.h"

typedef struct RowReceiver
{
	DestReceiver receiver; /* first: the executor knows it by this */
	RowText *row;
	RowSink sink;
} RowReceiver;

static void
start(DestReceiver *self, int operation, TupleDesc description)
{
	AttrNumber *columns = palloc_array(AttrNumber, description->natts);

	for (int i = 0; i < description->natts; i++)
		columns[i] = i + 1;
	((RowReceiver *) self)->row = row_text_create(description, columns, description->natts);
	pfree(columns);
}

static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	const StringInfoData *line = row_text_format(receiver->row, slot);

	receiver->sink(line->data, line->len);
	return true;
}

static void
stop(DestReceiver *self)
{
}

/* Run a SELECT on the active snapshot. What is allocated goes with the transaction. */
void
row_source_read(const char *sql, RowSink sink)
{
	RowReceiver receiver = {{receive, start, stop, stop, DestCopyOut}, NULL, sink};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver.receiver};

	if (SPI_connect() != SPI_OK_CONNECT || SPI_execute_extended(sql, &options) != SPI_OK_SELECT)
		elog(ERROR, "could not run the query: %s", sql);
	SPI_finish();
}
