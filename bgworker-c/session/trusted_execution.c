/*
 * trusted_execution.c
 *	  Which queries are executed under the guard: those that read tables of others.
 *
 * Expressions of a table's owner do not get into them, see trusted_planning.c.
 * Should one all the same, it could call what is trusted, with arguments of the
 * owner's: so nothing that could do something is called while such a query runs.
 */
#include "base/settings.h"
#include "session/trusted_code.h"

#include "executor/executor.h"
#include "nodes/parsenodes.h"

static ExecutorStart_hook_type next_start_hook = NULL;
static ExecutorRun_hook_type next_run_hook = NULL;

static bool is_executing = false; /* a query that reads a table of somebody else */

static bool
plan_reads_table_of_others(const PlannedStmt *plan)
{
	foreach_node (RangeTblEntry, entry, plan->rtable)
		if (entry->rtekind == RTE_RELATION && is_table_of_others(entry->relid))
			return true;
	return false;
}

bool
execution_is_restricted(void)
{
	return is_executing;
}

static void
start(QueryDesc *query, int flags)
{
	(next_start_hook != NULL ? next_start_hook : standard_ExecutorStart)(query, flags);
}

static void
run(QueryDesc *query, ScanDirection direction, uint64 count)
{
	(next_run_hook != NULL ? next_run_hook : standard_ExecutorRun)(query, direction, count);
}

/* Enter the execution of a query; what was before. */
static bool
enter(const QueryDesc *query)
{
	bool before = is_executing;

	is_executing =
		steep_trusted_code_only && (before || plan_reads_table_of_others(query->plannedstmt));
	return before;
}

static void
at_executor_start(QueryDesc *query, int flags)
{
	volatile bool before = enter(query);

	PG_TRY();
	{
		start(query, flags);
	}
	PG_FINALLY();
	{
		is_executing = before;
	}
	PG_END_TRY();
}

static void
at_executor_run(QueryDesc *query, ScanDirection direction, uint64 count)
{
	volatile bool before = enter(query);

	PG_TRY();
	{
		run(query, direction, count);
	}
	PG_FINALLY();
	{
		is_executing = before;
	}
	PG_END_TRY();
}

/* Called once, when the library is loaded. */
void
trusted_execution_init(void)
{
	next_start_hook = ExecutorStart_hook;
	ExecutorStart_hook = at_executor_start;
	next_run_hook = ExecutorRun_hook;
	ExecutorRun_hook = at_executor_run;
}
