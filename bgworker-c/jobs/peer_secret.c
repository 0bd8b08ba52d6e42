/*
 * peer_secret.c
 *	  Connection strings of queued jobs, in shared memory.
 */
#include "jobs/peer_secret.h"

#include "miscadmin.h"
#include "jobs/shared_state.h"

/* The entry of a job, or a free one for id 0. Caller holds the lock. */
static PeerSecret *
find(int64 id)
{
	for (int i = 0; i < PEER_SECRETS; i++)
		if (steep_shared->secrets[i].id == id)
			return &steep_shared->secrets[i];
	return NULL;
}

/* Whether a role may have one more: nobody can take all of them. Caller holds the lock. */
static bool
may_have_another(Oid role, bool is_superuser)
{
	int all = 0;
	int own = 0;

	for (int i = 0; i < PEER_SECRETS; i++)
	{
		const PeerSecret *secret = &steep_shared->secrets[i];

		all += secret->id != 0;
		own += secret->id != 0 && secret->role == role;
	}
	return is_superuser ||
		   (own < PEER_SECRETS_PER_ROLE && all < PEER_SECRETS - PEER_SECRETS_RESERVED);
}

/* Keep a job's connection string; one that it had is replaced. */
void
peer_secret_keep(int64 id, Oid database, const char *conninfo)
{
	Oid role = GetUserId();
	bool is_superuser = superuser_arg(role);
	PeerSecret *secret;

	if (strlen(conninfo) >= PEER_SECRET_LEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("peer must have less than %d bytes", PEER_SECRET_LEN),
						errhint("Create a server of dblink_fdw and name that.")));
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	secret = find(id);
	if (secret == NULL && may_have_another(role, is_superuser))
		secret = find(0);
	if (secret != NULL)
	{
		secret->id = id;
		secret->database = database;
		secret->role = role;
		secret->committed = false;
		strlcpy(secret->conninfo, conninfo, PEER_SECRET_LEN);
	}
	LWLockRelease(steep_shared->lock);
	if (secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many jobs with a connection string wait or run already"),
				 errdetail("There can be %d, of one role %d, and %d are kept for superusers.",
						   PEER_SECRETS, PEER_SECRETS_PER_ROLE, PEER_SECRETS_RESERVED),
				 errhint("Wait for them, or name a server of dblink_fdw as the peer.")));
}

/* The job's row is committed: from now on its absence means something. */
void
peer_secret_commit(int64 id)
{
	PeerSecret *secret;

	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	secret = find(id);
	if (secret != NULL)
		secret->committed = true;
	LWLockRelease(steep_shared->lock);
}

void
peer_secret_forget(int64 id)
{
	PeerSecret *secret;

	if (steep_shared == NULL)
		return;
	LWLockAcquire(steep_shared->lock, LW_EXCLUSIVE);
	secret = find(id);
	if (secret != NULL)
		memset(secret, 0, sizeof(PeerSecret));
	LWLockRelease(steep_shared->lock);
}

/* A copy in the current memory context, or NULL. */
char *
peer_secret_find(int64 id)
{
	char conninfo[PEER_SECRET_LEN];
	PeerSecret *secret;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	secret = find(id);
	if (secret != NULL)
		strlcpy(conninfo, secret->conninfo, PEER_SECRET_LEN);
	LWLockRelease(steep_shared->lock);
	return secret == NULL ? NULL : pstrdup(conninfo);
}

/* Jobs of a database whose rows were committed and that have one. */
int
peer_secret_ids(Oid database, int64 *ids)
{
	int n = 0;

	LWLockAcquire(steep_shared->lock, LW_SHARED);
	for (int i = 0; i < PEER_SECRETS; i++)
	{
		PeerSecret *secret = &steep_shared->secrets[i];

		if (secret->id != 0 && secret->committed && secret->database == database)
			ids[n++] = secret->id;
	}
	LWLockRelease(steep_shared->lock);
	return n;
}
