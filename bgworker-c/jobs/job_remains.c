/*
 * job_remains.c
 *	  What a job has left outside of its rows, by what our private table says.
 *
 * A slot's name alone proves nothing: after a crash somebody may have made
 * another slot of that name. Ours, as long as nobody has used it, still stands
 * at the very position where the snapshot was taken.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "jobs/job_remains.h"
#include "miscadmin.h"
#include "jobs/owner.h"
#include "replication/slot.h"
#include "base/compat.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/pg_lsn.h"

/* Look a job up; false if it has left nothing. */
bool
job_remains_find(int64 id, JobRemains *remains)
{
	char *path;
	char *slot_name;
	bool isnull;

	memset(remains, 0, sizeof(*remains));
	if (owner_execute(
			"select path, token, slot_name, slot_lsn from steep_repl._job_directories where operation_id = $1",
			SQL_ARGS(arg_int8(id))) == 0)
		return false;
	remains->mark.operation_id = id;
	remains->mark.database = MyDatabaseId;
	path = owner_text(0, 1);
	/* As queued, and so unchecked. */
	if (path[0] == '/' && strlen(path) < MAXPGPATH)
		strlcpy(remains->path, path, MAXPGPATH);
	strlcpy(remains->mark.token, owner_text(0, 2), STEEP_TOKEN_LEN);
	slot_name = owner_text(0, 3);
	if (slot_name != NULL)
	{
		strlcpy(remains->slot_name, slot_name, NAMEDATALEN);
		remains->slot_lsn = DatumGetLSN(owner_value(0, 4, &isnull));
	}
	return true;
}

void
job_remains_forget(int64 id)
{
	owner_execute("delete from steep_repl._job_directories where operation_id = $1",
				  SQL_ARGS(arg_int8(id)));
}

/*
 * WAL that the job's slot holds back; -1 if it is gone, or a subscription has
 * used it: then it is no longer the snapshot's.
 */
int64
job_slot_retained_bytes(const JobRemains *remains)
{
	ReplicationSlot *slot;
	ReplicationSlotPersistentData data = {0};
	bool is_idle = false;

	if (remains->slot_name[0] == '\0')
		return -1;
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(remains->slot_name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		is_idle = slot->in_use && slot_is_idle(slot);
		data = slot->data;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);

	if (!is_idle || data.database != MyDatabaseId || data.persistency != RS_PERSISTENT ||
		data.confirmed_flush != remains->slot_lsn || strcmp(NameStr(data.plugin), "pgoutput") != 0)
		return -1;
	return (int64) (GetXLogInsertRecPtr() - data.restart_lsn);
}

/* Drop the slot, if it is still the snapshot's; false if it is not. */
bool
job_slot_drop(const JobRemains *remains)
{
	if (job_slot_retained_bytes(remains) < 0)
		return false;
	ReplicationSlotDrop(remains->slot_name, true);
	return true;
}
