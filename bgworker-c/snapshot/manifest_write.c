/*
 * manifest_write.c
 *	  Writes manifest.json: what the snapshot is, and for each file and frame
 *	  where it lies and what its bytes must hash to. Its last line is the
 *	  digest of all that stands before it.
 */
#include "snapshot/manifest_write.h"

#include "access/xlog.h"
#include "base/bytebuffer.h"
#include "files/directory.h"
#include "files/manifest_read.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/pg_lsn.h"

static void
append(ByteBuffer *out, const char *text)
{
	bytebuffer_append(out, text, strlen(text));
}

/*
 * The text as UTF-8, which JSON is whatever the database's encoding is. A
 * SQL_ASCII database does not say what its bytes mean: where they are no UTF-8
 * they are read as LATIN1. In a transaction, as the conversion is looked up.
 */
static char *
to_utf8(const char *text)
{
	int len = strlen(text);
	char *result;
	char *end;

	if (GetDatabaseEncoding() != PG_SQL_ASCII || pg_verify_mbstr(PG_UTF8, text, len, true))
		return pg_server_to_any(text, len, PG_UTF8);
	result = end = palloc(2 * len + 1);
	for (const char *p = text; *p != '\0'; p++)
	{
		unsigned char c = *p;

		if (c >= 0x80)
			*end++ = 0xc0 | (c >> 6);
		*end++ = c < 0x80 ? c : 0x80 | (c & 0x3f);
	}
	*end = '\0';
	return result;
}

/* "key":"value", with a comma after it; null where there is none. */
static void
append_string(ByteBuffer *out, const char *key, const char *value)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "\"%s\":", key);
	if (value == NULL)
		appendStringInfoString(&json, "null");
	else
		escape_json(&json, to_utf8(value));
	appendStringInfoChar(&json, ',');
	append(out, json.data);
	pfree(json.data);
}

static void
append_number(ByteBuffer *out, const char *key, uint64 value)
{
	char text[64];

	snprintf(text, sizeof(text), "\"%s\":" UINT64_FORMAT ",", key, value);
	append(out, text);
}

static void
append_digest(ByteBuffer *out, const uint8 *sha256)
{
	char hex[DIGEST_HEX_SIZE];

	digest_to_hex(sha256, hex);
	append(out, "\"sha256\":\"");
	append(out, hex);
	append(out, "\"");
}

static void
append_frame(ByteBuffer *out, const FrameRecord *frame)
{
	char blocks[64] = ",\"blocks\":null}";

	append(out, "\n{");
	append_number(out, "offset", frame->offset);
	append_number(out, "rows", frame->rows);
	append_number(out, "raw_bytes", frame->raw_bytes);
	append_number(out, "stored_bytes", frame->stored_bytes);
	append_digest(out, frame->sha256);
	if (frame->end_block != InvalidBlockNumber)
		snprintf(blocks, sizeof(blocks), ",\"blocks\":[%u,%u]}", frame->first_block,
				 frame->end_block);
	append(out, blocks);
}

/* One data file, of a table or a large object, with its frames. */
static void
append_data_file(ByteBuffer *out, const SnapshotPlan *plan, const FrameRecord *frames, uint64 n,
				 ManifestTotals *totals)
{
	const PlanTable *entry = &plan->tables[frames[0].table];
	char name[PLAN_FILE_NAME_LEN];
	uint64 rows = 0;
	uint64 raw_bytes = 0;
	uint64 stored_bytes = 0;

	for (uint64 i = 0; i < n; i++)
	{
		rows += frames[i].rows;
		raw_bytes += frames[i].raw_bytes;
		stored_bytes += frames[i].stored_bytes;
	}
	plan_file_name(plan, entry, frames[0].object, name);
	append(out, ",\n{");
	append_string(out, "name", name);
	append_string(out, "kind", entry->n_objects > 0 ? "large_object" : "data");
	if (entry->n_objects == 0)
	{
		append_string(out, "schema", plan_string(plan, entry->schema));
		append_string(out, "table", plan_string(plan, entry->name));
		append_number(out, "rows", rows);
	}
	append_number(out, "raw_bytes", raw_bytes);
	append_number(out, "stored_bytes", stored_bytes);
	append(out, "\"frames\":[");
	for (uint64 i = 0; i < n; i++)
	{
		if (i > 0)
			append(out, ",");
		append_frame(out, &frames[i]);
	}
	append(out, "]}");
	totals->rows += rows;
	totals->raw_bytes += raw_bytes;
	totals->stored_bytes += stored_bytes;
}

static void
append_list(ByteBuffer *out, const ManifestList *list, ManifestTotals *totals)
{
	append(out, ",\n{");
	append_string(out, "name", list->name);
	append_string(out, "kind", "large_objects");
	append_number(out, "stored_bytes", list->bytes);
	append_digest(out, list->sha256);
	append(out, "}");
	totals->stored_bytes += list->bytes;
}

static void
append_files(ByteBuffer *out, const ManifestHeader *header, const SnapshotPlan *plan,
			 const FrameRecord *frames, uint64 n_frames, ManifestTotals *totals)
{
	uint64 first = 0;
	uint64 n_files = 0;

	append(out, "\"files\":[\n{");
	append_string(out, "name", TOC_FILE);
	append_string(out, "kind", "toc");
	append_number(out, "stored_bytes", header->toc_bytes);
	append_digest(out, header->toc_sha256);
	append(out, "}");
	for (uint32 i = 0; i < header->n_lists; i++)
		append_list(out, &header->lists[i], totals);
	/* each file has a frame, if only the terminator or an empty one */
	for (uint64 end = first; first < n_frames; first = end, n_files++)
	{
		while (end < n_frames && frames[end].table == frames[first].table &&
			   frames[end].object == frames[first].object)
			end++;
		if (frames[first].table >= plan->n_tables)
			break;
		append_data_file(out, plan, frames + first, end - first, totals);
	}
	if (n_files != plan->n_tables - plan->n_batches + plan->all_objects)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("the list of frames was damaged while the job ran")));
	append(out, "\n],\n");
}

static void
append_header(ByteBuffer *out, const ManifestHeader *header, const SnapshotPlan *plan,
			  const ManifestTotals *totals)
{
	char text[64];

	append(out, "{");
	append_number(out, "format_version", MANIFEST_FORMAT_VERSION);
	append_string(out, "snapshot_id", header->snapshot_id);
	append_string(out, "node_id", header->node_id);
	append_string(out, "creator", header->creator);
	append_number(out, "creator_oid", header->creator_oid);
	snprintf(text, sizeof(text), UINT64_FORMAT, GetSystemIdentifier());
	append_string(out, "system_identifier", text);
	append_string(out, "database", header->database);
	/* as the server writes it, which 19 does with all digits */
	append_string(out, "lsn",
				  DatumGetCString(DirectFunctionCall1(pg_lsn_out, LSNGetDatum(header->lsn))));
	append_string(out, "slot_name", header->slot_name);
	append_string(out, "pg_version", PG_VERSION);
	append_string(out, "extension_version", STEEP_REPL_VERSION);
	append_string(out, "encoding", header->encoding);
	append_string(out, "compression", codec_name(plan->codec));
	snprintf(text, sizeof(text), "\"level\":%d,", plan->level);
	append(out, text);
	append_string(out, "created_at", header->created_at);
	append_number(out, "tables", plan->n_tables - plan->n_batches);
	append_number(out, "rows", totals->rows);
	append_number(out, "raw_bytes", totals->raw_bytes);
	append_number(out, "stored_bytes", totals->stored_bytes);
	append(out, "\n");
}

/*
 * Write and sync the manifest under a temporary name. Frames are sorted by
 * table and offset. Fills *totals. In a transaction.
 */
void
manifest_write(int dirfd, const char *name, const ManifestHeader *header, const SnapshotPlan *plan,
			   const FrameRecord *frames, uint64 n_frames, ManifestTotals *totals)
{
	ByteBuffer files;
	ByteBuffer out;
	uint8 sha256[DIGEST_BYTES];

	memset(totals, 0, sizeof(*totals));
	bytebuffer_init(&files, 64 * 1024);
	append_files(&files, header, plan, frames, n_frames, totals);

	bytebuffer_init(&out, files.len + 4096);
	append_header(&out, header, plan, totals);
	bytebuffer_append(&out, files.data, files.len);
	digest_bytes(out.data, out.len, sha256);
	append_digest(&out, sha256);
	append(&out, "}\n");

	digest_bytes(out.data, out.len, totals->sha256);
	directory_write_file(dirfd, name, out.data, out.len);
}
