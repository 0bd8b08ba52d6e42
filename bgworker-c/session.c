/*
 * session.c
 *	  What the JavaScript runtime needs from C in an ordinary session.
 */
#include "steep_repl.h"

#include <signal.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "session.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_engine_is_ready);
PG_FUNCTION_INFO_V1(steep_repl_engine_loaded);
PG_FUNCTION_INFO_V1(steep_repl_raise);

static bool engine_is_ready = false;

/*
 * PL/JS takes SIGINT, SIGTERM and SIGABRT when it is loaded. Without this,
 * statement_timeout, pg_cancel_backend, pg_terminate_backend and a fast
 * shutdown would do nothing in the session from then on, even in plain SQL.
 */
void
restore_signal_handlers(void)
{
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGTERM, die);
	pqsignal(SIGABRT, SIG_DFL);
}

Datum
steep_repl_engine_is_ready(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(engine_is_ready);
}

Datum
steep_repl_engine_loaded(PG_FUNCTION_ARGS)
{
	restore_signal_handlers();
	engine_is_ready = true;
	PG_RETURN_VOID();
}

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* Raise an error that JavaScript answered; PL/pgSQL cannot leave a hint out. */
Datum
steep_repl_raise(PG_FUNCTION_ARGS)
{
	char *sqlstate = text_argument(fcinfo, 0);
	char *message = text_argument(fcinfo, 1);
	char *detail = text_argument(fcinfo, 2);
	char *hint = text_argument(fcinfo, 3);
	int code = ERRCODE_INTERNAL_ERROR;

	if (sqlstate != NULL && strlen(sqlstate) == 5)
		code = MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]);
	ereport(ERROR, (errcode(code), errmsg_internal("%s", message ? message : "unknown error"),
					detail && detail[0] ? errdetail_internal("%s", detail) : 0,
					hint && hint[0] ? errhint("%s", hint) : 0));
	PG_RETURN_VOID();
}
