/*
 * engine_signals.c
 *	  Keeps a process interruptible that has loaded a JavaScript engine.
 *
 * PL/JS installs handlers for SIGINT, SIGTERM and SIGABRT when its library is
 * loaded, past PostgreSQL's: statement_timeout, cancel, terminate and a fast
 * shutdown do nothing from then on, even in plain SQL. PostgreSQL's handlers
 * alone would not do either, since only PL/JS's own one interrupts a script.
 *
 * So PostgreSQL's come first. What has not obeyed after a while of computing
 * is taken for a script, and interrupted in PL/JS's way, again and again. Not
 * at once: PL/JS notes a signal until the next call begins, and would
 * interrupt what it compiles for that call.
 */
#include "base/settings.h"
#include "fmgr.h"

#include <signal.h>
#include <sys/time.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_language.h"
#include "jobs/engine_signals.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

PG_FUNCTION_INFO_V1(steep_repl_enter_engine);
PG_FUNCTION_INFO_V1(steep_repl_raise_interruption);

/* How long a pending interrupt may be left to the server's own checks, in ms of computing. */
#define GRACE_MS 100

/* An engine's own, which it installs past pqsignal(). */
static void (*engine_handler)(int signal) = NULL;
static volatile sig_atomic_t has_told_engine = false;

/* The call into JavaScript that is under way: it ends with this subtransaction. */
static volatile SubTransactionId current_call = InvalidSubTransactionId;
static TimeoutId deadline = MAX_TIMEOUTS;

/* What came during the call that is under way, or was the last one. */
static volatile sig_atomic_t is_cancelled = false;
static volatile sig_atomic_t is_late = false;

/* Look again after each so many ms that this process computes; 0 = no more. */
static void
watch(int ms)
{
	struct itimerval timer = {.it_interval.tv_usec = ms * 1000, .it_value.tv_usec = ms * 1000};

	setitimer(ITIMER_VIRTUAL, &timer, NULL);
}

static bool
must_end(void)
{
	return QueryCancelPending || ProcDiePending || TransactionTimeoutPending;
}

static void
on_watch(SIGNAL_ARGS)
{
	if (!must_end() && current_call == InvalidSubTransactionId)
	{
		watch(0);
		/* another handler may have run since we looked */
		if (must_end())
			watch(GRACE_MS);
	}
	else if (must_end())
	{
		has_told_engine = true;
		if (engine_handler != NULL)
			engine_handler(SIGINT);
	}
}

static void
on_cancel(SIGNAL_ARGS)
{
	StatementCancelHandler(SIGNAL_ARGS_PASSED);
	is_cancelled = true;
	watch(GRACE_MS);
}

static void
on_die(SIGNAL_ARGS)
{
	die(SIGNAL_ARGS_PASSED);
	watch(GRACE_MS);
}

/*
 * Put our handler in place. One that is there and that pqsignal() has not
 * installed is an engine's.
 */
static void
take_signal(int signal, pqsigfunc ours)
{
	struct sigaction before;
	struct sigaction after;

	sigaction(signal, NULL, &before);
	pqsignal(signal, ours);
	sigaction(signal, NULL, &after);
	if (before.sa_handler != after.sa_handler && before.sa_handler != SIG_DFL &&
		before.sa_handler != SIG_IGN)
		engine_handler = before.sa_handler;
}

static void
take_signals(void)
{
	pqsignal(SIGVTALRM, on_watch);
	take_signal(SIGTERM, on_die);
	take_signal(SIGINT, on_cancel);
	pqsignal(SIGABRT, PG_SIG_DFL);
}

static void
hold_signals(int how)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(how, &signals, NULL);
}

/* Load the library of a language, and none of its scripts. A signal that comes meanwhile waits. */
static void
load_library(Form_pg_language language)
{
	FmgrInfo handler;

	hold_signals(SIG_BLOCK);
	PG_TRY();
	{
		fmgr_info(language->lanplcallfoid, &handler);
	}
	PG_CATCH();
	{
		hold_signals(SIG_UNBLOCK);
		PG_RE_THROW();
	}
	PG_END_TRY();
	take_signals();
	hold_signals(SIG_UNBLOCK);
}

/*
 * Run a script that does nothing. PL/JS can be interrupted from its first
 * script on, and forgets a signal with each: a start procedure, which is run
 * before the role's first script, must find both done. So this is for a role
 * that nobody can be, and that has no start procedure.
 */
static void
run_nothing(Form_pg_language language)
{
	InlineCodeBlock *nothing = makeNode(InlineCodeBlock);
	int level = NewGUCNestLevel();
	Oid user;
	int context;

	nothing->source_text = "";
	nothing->langOid = language->oid;
	nothing->langIsTrusted = language->lanpltrusted;
	nothing->atomic = true;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(ROLE_PG_DATABASE_OWNER, context | SECURITY_RESTRICTED_OPERATION);
	(void) set_config_option("pljs.start_proc", "", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	OidFunctionCall1(language->laninline, PointerGetDatum(nothing));
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/*
 * Load PL/JS where the database has it, before anybody's code does, and have
 * its handlers behind ours. Inside a transaction.
 *
 * Whether it is the engine of our own bundle does not matter: a worker that
 * runs a user's trigger must not lose its signals to it either.
 */
void
engine_load(void)
{
	bool is_new;
	HeapTuple tuple;

	take_signals();
	is_new = engine_handler == NULL;
	if (!is_new && !has_told_engine)
		return;
	tuple = SearchSysCache1(LANGNAME, CStringGetDatum("pljs"));
	if (!HeapTupleIsValid(tuple))
		return;
	if (is_new)
		load_library((Form_pg_language) GETSTRUCT(tuple));
	run_nothing((Form_pg_language) GETSTRUCT(tuple));
	has_told_engine = false;
	ReleaseSysCache(tuple);
}

/* Runs in a signal handler: cancel as pg_cancel_backend would. */
static void
on_deadline(void)
{
	is_late = true;
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* The call into JavaScript is over, in whatever way. */
static void
on_subtransaction_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (mine != current_call ||
		(event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	current_call = InvalidSubTransactionId;
	disable_timeout(deadline, false);
	if (is_late)
		QueryCancelPending = false;
}

/*
 * A call into JavaScript begins, in a subtransaction of its own. In a worker
 * it must end in time: no session waits for it that could cancel it.
 */
Datum
steep_repl_enter_engine(PG_FUNCTION_ARGS)
{
	engine_load();
	if (current_call != InvalidSubTransactionId || GetCurrentTransactionNestLevel() < 2)
		PG_RETURN_VOID();

	if (deadline == MAX_TIMEOUTS)
	{
		deadline = RegisterTimeout(USER_TIMEOUT, on_deadline);
		RegisterSubXactCallback(on_subtransaction_end, NULL);
	}
	is_cancelled = QueryCancelPending;
	is_late = false;
	current_call = GetCurrentSubTransactionId();
	watch(GRACE_MS);
	if (AmBackgroundWorkerProcess())
		enable_timeout_after(deadline, steep_planning_timeout);
	PG_RETURN_VOID();
}

/*
 * Say why JavaScript failed, if an interruption is the reason: an engine says
 * it in words of its own, also where the check in SQL below JavaScript has
 * raised it before. Otherwise it is raised by the check here.
 */
Datum
steep_repl_raise_interruption(PG_FUNCTION_ARGS)
{
	CHECK_FOR_INTERRUPTS();
	if (is_late)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
						errmsg("planning took longer than steep_repl.planning_timeout"),
						errhint("Where a great many tables are planned for, raise it.")));
	if (is_cancelled)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
						errmsg("canceling statement due to user request or timeout")));
	PG_RETURN_VOID();
}
