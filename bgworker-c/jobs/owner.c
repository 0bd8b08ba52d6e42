/*
 * owner.c
 *	  Fixed SQL statements run as the extension's owner.
 */
#include "jobs/owner.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "replication/origin.h"
#include "base/compat.h"
#include "base/settings.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

bool
extension_is_installed(void)
{
	return OidIsValid(get_extension_oid(STEEP_NAME, true));
}

/* The role that owns the extension and so all our tables. */
Oid
extension_owner(void)
{
	Oid owner = InvalidOid;
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key[0], Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(STEEP_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (!OidIsValid(owner))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("extension \"%s\" is not installed in this database", STEEP_NAME)));
	return owner;
}

/* Whether statements wait for locks on our tables without end. */
static bool waits_for_locks = false;

/*
 * From now on this process waits for as long as somebody locks our tables, which
 * who may UPDATE them can do: it must not be a way to make others' jobs fail.
 */
void
owner_wait_for_locks(void)
{
	waits_for_locks = true;
}

/* Take what writing to a table of ours takes, if nobody is in the way. For what can do without. */
bool
owner_can_lock(const char *table)
{
	Oid relid = get_relname_relid(table, get_namespace_oid(STEEP_NAME, false));

	return OidIsValid(relid) && ConditionalLockRelationOid(relid, RowExclusiveLock);
}

/*
 * Become the owner with a pinned search_path, inside the caller's transaction.
 * Needs no PG_TRY: aborting restores user and settings.
 */
void
owner_begin(OwnerSession *session)
{
	Oid owner = extension_owner();

	GetUserIdAndSecContext(&session->saved_user, &session->saved_context);
	SetUserIdAndSecContext(owner, session->saved_context | SECURITY_LOCAL_USERID_CHANGE);
	session->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (waits_for_locks)
		(void) set_config_option("lock_timeout", "0", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	SPI_connect();
}

void
owner_end(OwnerSession *session)
{
	SPI_finish();
	AtEOXact_GUC(false, session->guc_level);
	SetUserIdAndSecContext(session->saved_user, session->saved_context);
}

/* Run one statement; returns the number of rows, which stay in SPI_tuptable. */
uint64
owner_execute(const char *sql, int n, const SqlArg *args)
{
	int rc = sql_execute(sql, n, args);

	if (rc < 0)
		elog(ERROR, "a statement of ours failed: %s: %s", SPI_result_code_string(rc), sql);
	return SPI_processed;
}

Datum
owner_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* A value as text in the current memory context, or NULL. */
char *
owner_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/*
 * Our tables may be caught by somebody's FOR ALL TABLES publication. What
 * workers write there is of no use to other nodes, so it says so in the WAL.
 */
void
owner_begin_transaction(OwnerSession *session)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	transaction_origin = DoNotReplicateId;
	owner_begin(session);
}

void
owner_commit_transaction(OwnerSession *session)
{
	owner_end(session);
	PopActiveSnapshot();
	CommitTransactionCommand();
	transaction_origin = InvalidReplOriginId;
}
