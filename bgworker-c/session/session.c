/*
 * session.c
 *	  What the JavaScript runtime needs from C in an ordinary session.
 */
#include "postgres.h"

#include "fmgr.h"

#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(steep_repl_raise);

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
