/*
 * error_context.c
 *	  An error that reaches a session says nothing of our functions' insides.
 *
 * PL/pgSQL and SPI add a line of context for each of our private functions
 * that was under way, and statements of ours with their variables. All of our
 * functions pin their search_path, so all are called through the one place
 * where the server has a hook. What the caller's own functions add stays.
 */
#include "base/settings.h"
#include "session/session.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

static needs_fmgr_hook_type next_needs_hook = NULL;
static fmgr_hook_type next_hook = NULL;

/* What the hook keeps for a function. */
typedef struct CalledFunction
{
	bool is_ours;
	Datum next;
} CalledFunction;

static bool
needs_hook(Oid function)
{
	return next_needs_hook != NULL && next_needs_hook(function);
}

static bool
is_ours(Oid function)
{
	Oid schema = get_func_namespace(function);
	char *name = OidIsValid(schema) ? get_namespace_name(schema) : NULL;

	return name != NULL && strcmp(name, STEEP_NAME) == 0;
}

/*
 * Replace the context of the current error by that of our function's callers.
 * A bug of ours keeps it, and where memory is short none is asked for.
 */
static void
hide_context(void)
{
	MemoryContext old;
	ErrorData *error;

	if (geterrcode() == ERRCODE_INTERNAL_ERROR || geterrcode() == ERRCODE_OUT_OF_MEMORY)
		return;
	old = MemoryContextSwitchTo(CurTransactionContext);
	error = CopyErrorData();
	FlushErrorState();
	error->context = GetErrorContextStack();
	if (error->context != NULL && error->context[0] == '\0')
		error->context = NULL;
	MemoryContextSwitchTo(old);
	ReThrowError(error);
}

static void
on_function(FmgrHookEventType event, FmgrInfo *function, Datum *arg)
{
	CalledFunction *called = (CalledFunction *) DatumGetPointer(*arg);

	if (event == FHET_START && called == NULL)
	{
		called = MemoryContextAllocZero(function->fn_mcxt, sizeof(CalledFunction));
		called->is_ours = is_ours(function->fn_oid);
		*arg = PointerGetDatum(called);
	}
	if (called == NULL)
		return;
	if (next_hook != NULL)
		next_hook(event, function, &called->next);
	if (event == FHET_ABORT && called->is_ours && AmRegularBackendProcess())
		hide_context();
}

void
error_context_init(void)
{
	next_needs_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	next_hook = fmgr_hook;
	fmgr_hook = on_function;
}
