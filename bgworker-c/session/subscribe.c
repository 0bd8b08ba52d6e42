/*
 * subscribe.c
 *	  Subscriptions that connect by the options of a foreign server. CREATE
 *	  SUBSCRIPTION as text would have the password in it, for logs and for
 *	  statistics of statements to keep.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "commands/subscriptioncmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_node.h"
#include "peer/peer_target.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_pair_subscribe);

/* One pair of a connection string. */
static void
add_pair(StringInfo conninfo, const char *keyword, const char *value)
{
	appendStringInfo(conninfo, "%s%s='", conninfo->len > 0 ? " " : "", keyword);
	for (const char *p = value; *p != '\0'; p++)
	{
		if (*p == '\'' || *p == '\\')
			appendStringInfoChar(conninfo, '\\');
		appendStringInfoChar(conninfo, *p);
	}
	appendStringInfoChar(conninfo, '\'');
}

/* What libpq is told, but for what an apply worker says itself. */
static char *
conninfo_of(const char *server)
{
	PeerTarget target = peer_target_of(server, true);
	StringInfoData conninfo;

	initStringInfo(&conninfo);
	for (int i = 0; target.keywords[i] != NULL; i++)
		if (target.values[i] != NULL && strcmp(target.keywords[i], "client_encoding") != 0 &&
			strcmp(target.keywords[i], "fallback_application_name") != 0)
			add_pair(&conninfo, target.keywords[i], target.values[i]);
	return conninfo.data;
}

static DefElem *
option(const char *name, const char *value)
{
	return makeDefElem(pstrdup(name), (Node *) makeString(pstrdup(value)), -1);
}

/* PostgreSQL checks the caller's rights, as for the statement. */
Datum
steep_repl_pair_subscribe(PG_FUNCTION_ARGS)
{
	CreateSubscriptionStmt *stmt = makeNode(CreateSubscriptionStmt);
	ParseState *state = make_parsestate(NULL);

	PreventCommandIfReadOnly("CREATE SUBSCRIPTION");
	stmt->subname = text_to_cstring(PG_GETARG_TEXT_PP(0));
	stmt->conninfo = conninfo_of(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	stmt->publication = list_make1(makeString(text_to_cstring(PG_GETARG_TEXT_PP(2))));
	stmt->options = list_make5(option("slot_name", text_to_cstring(PG_GETARG_TEXT_PP(3))),
							   option("create_slot", "false"), option("copy_data", "false"),
							   option("origin", "none"),
							   option("enabled", PG_GETARG_BOOL(4) ? "true" : "false"));
	(void) CreateSubscription(state, stmt, false);
	free_parsestate(state);
	PG_RETURN_TEXT_P(cstring_to_text(stmt->subname));
}
