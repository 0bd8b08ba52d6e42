/*
 * peer_target.c
 *	  Where a connection to a peer goes, and who may make it.
 *
 * The rules are dblink's: who may not call dblink_connect() connects nowhere,
 * and roles that are no superusers need a password of their own, since
 * otherwise they would be taken for the operating system's user of this server.
 */
#include "peer/peer_target.h"

#include "catalog/namespace.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(steep_repl_peer_check);

/*
 * What is ours, before what the user says. A network that is cut says nothing:
 * without these a job would wait for its peer for hours.
 */
static const char *const defaults[][2] = {
	{"keepalives_idle", "15"},
	{"keepalives_interval", "5"},
	{"keepalives_count", "3"},
	{"tcp_user_timeout", "30000"},
	{"fallback_application_name", "steep_repl peer"},
};

/* More than that is not needed for a peer, and may be a list of hosts without end. */
#define CONNINFO_LEN 2048

/* Set a keyword; the value that came last counts. There is always room: arrays have a place for each. */
static void
set(PeerTarget *target, const char *keyword, const char *value)
{
	int i = 0;

	while (target->keywords[i] != NULL && strcmp(target->keywords[i], keyword) != 0)
		i++;
	target->keywords[i] = keyword;
	target->values[i] = value;
}

static const char *
value_of(const PeerTarget *target, const char *keyword)
{
	for (int i = 0; target->keywords[i] != NULL; i++)
		if (strcmp(target->keywords[i], keyword) == 0)
			return target->values[i];
	return NULL;
}

/* The options that libpq knows; ours forever. */
static const PQconninfoOption *
known_options(void)
{
	static PQconninfoOption *options = NULL;

	if (options == NULL)
		options = PQconninfoParse("", NULL);
	if (options == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return options;
}

static const char *
known_keyword(const char *keyword)
{
	for (const PQconninfoOption *option = known_options(); option->keyword != NULL; option++)
		if (strcmp(option->keyword, keyword) == 0)
			return option->keyword;
	return NULL;
}

static void
set_defaults(PeerTarget *target)
{
	int places = 1;

	for (const PQconninfoOption *option = known_options(); option->keyword != NULL; option++)
		places++;
	target->keywords = palloc0_array(const char *, places);
	target->values = palloc0_array(const char *, places);
	for (size_t i = 0; i < lengthof(defaults); i++)
		set(target, defaults[i][0], defaults[i][1]);
}

/* What libpq does to find out who we are, with a person, is written to this server's log. */
static bool
is_oauth(const char *keyword)
{
	return strncmp(keyword, "oauth_", 6) == 0;
}

/*
 * Files are read and written as this server: what proves or reveals who it is, or may never end. A service is a
 * file's section, which may name all of these.
 */
static void
check_files(const PeerTarget *target)
{
	static const char *const files[] = {"passfile", "service",   "servicefile",
										"sslcert",  "sslkey",    "sslrootcert",
										"sslcrl",   "sslcrldir", "sslkeylogfile"};

	for (size_t i = 0; i < lengthof(files); i++)
	{
		const char *value = value_of(target, files[i]);

		/* the operating system's certificates */
		if (strcmp(files[i], "sslrootcert") == 0 && value != NULL && strcmp(value, "system") == 0)
			continue;
		if (value != NULL && value[0] != '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set connection option \"%s\"", files[i]),
					 errdetail("It names a file of this server."),
					 errhint("Let a superuser create a server of dblink_fdw, and name that.")));
	}
}

static void
set_if_known(PeerTarget *target, const char *keyword, const char *value)
{
	if (known_keyword(keyword) != NULL)
		set(target, known_keyword(keyword), value);
}

/*
 * A role that is no superuser is to be known to the peer by its password, and not by
 * this server's ticket or certificate, which libpq would offer by itself.
 */
static void
hide_identity(PeerTarget *target, bool is_superusers)
{
	set_if_known(target, "gssencmode", "disable");
	set_if_known(target, "gssdelegation", "0");
	set_if_known(target, "require_auth", "!gss,!sspi");
	if (is_superusers)
		return;
	check_files(target);
	set_if_known(target, "sslcertmode", "disable");
}

/* A connection string; what libpq says of a wrong one may hold any part of it, also a password. */
static void
add_string(PeerTarget *target, const char *conninfo)
{
	char *problem = NULL;
	PQconninfoOption *options;

	if (strlen(conninfo) >= CONNINFO_LEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("peer must have less than %d bytes", CONNINFO_LEN)));
	options = PQconninfoParse(conninfo, &problem);
	PQfreemem(problem);
	if (options == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("peer is not a valid connection string")));
	for (const PQconninfoOption *option = options; option->keyword != NULL; option++)
		if (option->val != NULL)
			set(target, known_keyword(option->keyword), pstrdup(option->val));
	PQconninfoFree(options);
	for (int i = 0; target->keywords[i] != NULL; i++)
		if (is_oauth(target->keywords[i]))
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("connection option \"%s\" is not supported for a peer",
								   target->keywords[i])));
}

/* Options of a foreign server that are libpq's; others are the wrapper's own. Dblink leaves out the same. */
static void
add_options(PeerTarget *target, List *options)
{
	ListCell *cell;

	foreach (cell, options)
	{
		DefElem *option = lfirst_node(DefElem, cell);
		const char *keyword = known_keyword(option->defname);

		if (keyword != NULL && !is_oauth(keyword) && strcmp(keyword, "sslkeylogfile") != 0)
			set(target, keyword, defGetString(option));
	}
}

/* Whether a superuser has said where it goes, and how. */
static bool
add_server(PeerTarget *target, const char *name)
{
	ForeignServer *server = GetForeignServerByName(name, false);
	AclResult may =
		object_aclcheck(ForeignServerRelationId, server->serverid, GetUserId(), ACL_USAGE);

	if (may != ACLCHECK_OK)
		aclcheck_error(may, OBJECT_FOREIGN_SERVER, server->servername);
	add_options(target, GetForeignDataWrapper(server->fdwid)->options);
	add_options(target, server->options);
	add_options(target, GetUserMapping(GetUserId(), server->serverid)->options);
	return superuser_arg(server->owner);
}

/* Where connecting is not for everybody, it is not for everybody here. */
static void
check_may_connect(void)
{
	Oid types[] = {TEXTOID, TEXTOID};
	char *schema = get_namespace_name(get_extension_schema(get_extension_oid("dblink", false)));
	Oid function = LookupFuncName(list_make2(makeString(schema), makeString("dblink_connect")),
								  lengthof(types), types, false);
	AclResult may = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);

	if (may != ACLCHECK_OK)
		aclcheck_error(may, OBJECT_FUNCTION, "dblink_connect");
}

pg_noreturn static void
refuse_without_password(const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
					errmsg("password is required"), errdetail("%s", detail), errhint("%s", hint)));
}

/* What libpq is to be told for a peer, if the caller may connect there. */
PeerTarget
peer_target_of(const char *peer, bool is_server)
{
	PeerTarget target;
	const char *password;
	bool is_superusers = false;

	check_may_connect();
	set_defaults(&target);
	if (is_server)
		is_superusers = add_server(&target, peer);
	else
		add_string(&target, peer);
	if (!superuser())
		hide_identity(&target, is_superusers);
	set(&target, "client_encoding", GetDatabaseEncodingName());
	password = value_of(&target, "password");
	if (!superuser() && (password == NULL || password[0] == '\0'))
		refuse_without_password(
			"Roles that are no superusers must give a password to connect.",
			"Have a server made with CREATE SERVER ... FOREIGN DATA WRAPPER dblink_fdw, put user and "
			"password into a user mapping of yours, and name that server, or a node that is "
			"registered with it. Or put the password into the connection string.");
	return target;
}

/* The same without what comes of it, before a job is queued that would connect. */
Datum
steep_repl_peer_check(PG_FUNCTION_ARGS)
{
	(void) peer_target_of(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_BOOL(1));
	PG_RETURN_VOID();
}

/* Connected: but was it by the password, and not by who this server is? */
void
peer_check_password_used(PGconn *conn)
{
	if (!superuser() && !PQconnectionUsedPassword(conn))
		refuse_without_password(
			"The peer let this role in without asking for the password. PostgreSQL demands of roles "
			"that are no superusers that it was used, or they could come in as somebody else.",
			"Have the peer's pg_hba.conf ask for it: scram-sha-256 instead of trust, peer or cert "
			"for this server's address.");
}
