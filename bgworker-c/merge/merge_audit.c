/*
 * merge_audit.c
 *	  The audit log of a merge: what a batch wrote, row by row.
 *
 * Images come from the requester's SQL, or from the peer, which are not to be
 * believed: they are read here, and the log gets what was read.
 */
#include "merge/merge.h"

#include "access/table.h"
#include "base/compat.h"
#include "merge/answer_read.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "merge/image_read.h"
#include "nodes/makefuncs.h"
#include "jobs/owner.h"
#include "text/row_copy.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/timestamp.h"

/* Columns that a record sets; the others have defaults. done_at is set, since COPY would
 * write row by row where a default calls a volatile function. */
typedef enum AuditColumn
{
	AUDIT_MERGE_ID,
	AUDIT_TABLE_NAME,
	AUDIT_KEY,
	AUDIT_CATEGORY,
	AUDIT_ACTION,
	AUDIT_LOCAL_ROW,
	AUDIT_REMOTE_ROW,
	AUDIT_DONE_AT,
	AUDIT_REQUESTED_BY,
	AUDIT_BATCH,
	AUDIT_WRITTEN_ROW,
	N_AUDIT_COLUMNS
} AuditColumn;

static const char *const column_names[N_AUDIT_COLUMNS] = {
	"merge_id",   "table_name", "key",          "category", "action",      "local_row",
	"remote_row", "done_at",    "requested_by", "batch",    "written_row",
};

typedef struct Side
{
	Answer answer;
	int at; /* the next row */
	ImageReader *reader;
} Side;

/* Of the batch that is being written down: COPY's source of rows has no argument for it. */
static struct
{
	int n_written;
	Datum *written; /* their numbers, in order */
	int at;
	Side here;
	Side there;
	Side result; /* what rows have become, if that was read */
	int n_keys;
	Datum *keys;
	Datum common[N_AUDIT_COLUMNS]; /* the same for all rows */
	bool is_undo;
	int columns[N_AUDIT_COLUMNS]; /* of the table */
} audit;

static void
find_columns(CopyFromState copy)
{
	for (int i = 0; i < N_AUDIT_COLUMNS; i++)
		audit.columns[i] = list_nth_int(copy->attnumlist, i) - 1;
}

/* The image of a row, of this number; NULL where the side has no such row. */
static Jsonb *
read_image(Side *side, int number)
{
	const AnswerRow *row = answer_find(&side->answer, &side->at, number);

	if (row == NULL || strncmp(row->image, "null", 4) == 0)
		return NULL;
	(void) image_read(side->reader, row->image);
	return image_to_jsonb(side->reader);
}

/* What identifies the row, from its image. */
static Jsonb *
key_of(ImageReader *reader)
{
	JsonbBuilder object = {0};

	jsonb_push(&object, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < audit.n_keys; i++)
	{
		char *name = TextDatumGetCString(audit.keys[i]);
		const ImageField *field = image_field(reader, name);
		JsonbValue key = image_string(name, strlen(name));
		JsonbValue value =
			field == NULL ? image_string(NULL, 0) : image_string(field->value, field->len);

		jsonb_push(&object, WJB_KEY, &key);
		jsonb_push(&object, WJB_VALUE, &value);
	}
	jsonb_push(&object, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(object.result);
}

static const char *
category_of(const Jsonb *here, const Jsonb *there)
{
	if (audit.is_undo)
		return "undo";
	if (here == NULL)
		return "remote_only";
	return there == NULL ? "local_only" : "conflict";
}

/* A column that may have no image. */
static void
put_image(AuditColumn column, Jsonb *image, Datum *values, bool *nulls)
{
	int at = audit.columns[column];

	values[at] = JsonbPGetDatum(image);
	nulls[at] = image == NULL;
}

static bool
next_record(CopyFromState copy, ExprContext *econtext, Datum *values, bool *nulls)
{
	const int *columns = audit.columns;
	int number;
	Jsonb *here;
	Jsonb *there;
	Jsonb *result;

	if (audit.at == audit.n_written)
		return false;
	copy->cur_lineno++;
	copy->line_buf_valid = false;
	number = DatumGetInt32(audit.written[audit.at++]);
	here = read_image(&audit.here, number);
	there = read_image(&audit.there, number);
	result = read_image(&audit.result, number);
	if (here == NULL && there == NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION),
						errmsg("a batch of a merge lacks the image of a row")));
	for (int i = 0; i < N_AUDIT_COLUMNS; i++)
	{
		values[columns[i]] = audit.common[i];
		nulls[columns[i]] = false;
	}
	values[columns[AUDIT_KEY]] =
		JsonbPGetDatum(key_of(here != NULL ? audit.here.reader : audit.there.reader));
	values[columns[AUDIT_CATEGORY]] = CStringGetTextDatum(category_of(here, there));
	put_image(AUDIT_LOCAL_ROW, here, values, nulls);
	put_image(AUDIT_REMOTE_ROW, there, values, nulls);
	put_image(AUDIT_WRITTEN_ROW, result, values, nulls);
	values[columns[AUDIT_DONE_AT]] = TimestampTzGetDatum(GetCurrentTimestamp());
	/* by which COPY bounds how many rows it holds in memory */
	copy->line_buf.len = (int) ((here ? VARSIZE(here) : 0) + (there ? VARSIZE(there) : 0));
	return true;
}

static Side
side_of(const char *answer)
{
	Answer nothing = {0};

	return (Side){answer == NULL ? nothing : answer_read(answer, strlen(answer)), 0,
				  image_reader_create()};
}

static ArrayType *
read_array(char *text, Oid element)
{
	return DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, text, element, -1));
}

/* Whose the merge is, and whether it is an undo. */
static void
read_merge(const char *merge_id, const char *role)
{
	bool isnull;

	if (owner_execute(
			"select coalesce($2, requested_by), undoes is not null from steep_repl.merges where merge_id = $1",
			SQL_ARGS(arg_text(merge_id), arg_text(role))) != 1)
		elog(ERROR, "merge %s is gone", merge_id);
	audit.common[AUDIT_REQUESTED_BY] = CStringGetTextDatum(owner_text(0, 1));
	audit.is_undo = DatumGetBool(owner_value(0, 2, &isnull));
}

/* What a batch wrote, row by row. Inside a transaction as the owner. */
void
merge_keep_audit(const char *merge_id, int64 number, const char *role, const MergeTable *table,
				 char **batch)
{
	List *columns = NIL;
	Relation rel;

	read_merge(merge_id, role);
	deconstruct_array_builtin(read_array(table->key, TEXTOID), TEXTOID, &audit.keys, NULL,
							  &audit.n_keys);
	deconstruct_array_builtin(read_array(batch[BATCH_NUMBERS], INT4OID), INT4OID, &audit.written,
							  NULL, &audit.n_written);
	audit.at = 0;
	audit.here = side_of(batch[BATCH_HERE]);
	audit.there = side_of(batch[BATCH_THERE]);
	audit.result = side_of(batch[BATCH_RESULT]);
	audit.common[AUDIT_MERGE_ID] = CStringGetTextDatum(merge_id);
	audit.common[AUDIT_TABLE_NAME] = CStringGetTextDatum(table->name);
	audit.common[AUDIT_ACTION] = CStringGetTextDatum(batch[BATCH_ACTION]);
	audit.common[AUDIT_BATCH] = Int64GetDatum(number);
	for (int i = 0; i < N_AUDIT_COLUMNS; i++)
		columns = lappend(columns, makeString(pstrdup(column_names[i])));
	rel = table_openrv(makeRangeVar("steep_repl", "merge_audit_log", -1), RowExclusiveLock);
	(void) row_copy(rel, columns, find_columns, next_record);
	table_close(rel, NoLock);
}
