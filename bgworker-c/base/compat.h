/*
 * compat.h
 *	  What differs between the versions of PostgreSQL that the shim is built for.
 *
 * The one file that knows versions. Files include it after the server's headers that declare what they use of
 * it. Names are those of the newest version where it has some; older ones are led to them.
 *
 * Besides what the compiler checks, we read and write some of the server's data by layouts that it
 * keeps to itself, or rely on what its headers do not say. Before another major is let in below, each
 * is compared, as is what the servers store of the same rows, byte by byte (pageinspect), and the
 * integration tests that are named run on it:
 *
 *	a numeric's words and groups (text/numeric_parts.h)							18, 19	copy-text
 *	a jsonb's containers and their padding (text/jsonb_*)						18, 19	copy-text, apply-text
 *	equal values of other bytes, such as -0 and 0 (compare/row_digest.c)		18, 19	overlap-model
 *	what COPY FROM wants to know of a row that it is given (text/copy_rows.c)	18, 19	apply-text
 *	pg_dump's archive, version 1.16 (toc/)										18, 19	toc, toc-script
 *	lock groups outside of parallel queries (snapshot/holder.c)					18, 19	locks
 *	a slot's snapshot that no walsender exports (snapshot/holder.c)				18, 19	slot
 */
#ifndef STEEP_COMPAT_H
#define STEEP_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 180000
#error "steep_repl needs PostgreSQL 18 or newer"
#elif PG_VERSION_NUM >= 200000
#error "steep_repl has not been checked with this version of PostgreSQL: see base/compat.h"
#endif

#include "nodes/miscnodes.h"
#include "utils/numeric.h"

#if PG_VERSION_NUM >= 190000

/* replication/origin.h: what the transaction at hand is said to come from */
#define transaction_origin replorigin_xact_state.origin
#define transaction_origin_lsn replorigin_xact_state.origin_lsn
#define transaction_origin_timestamp replorigin_xact_state.origin_timestamp

/* replication/slot.h, replication/logical.h; 19 has slots for REPACK, too */
#define check_decoding_requirements() CheckLogicalDecodingRequirements(false)
#define create_ephemeral_slot(name) \
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false, false, false, false)
#define create_decoding_context(plugin, routine)                                                \
	CreateInitDecodingContext(plugin, NIL, true, false, InvalidXLogRecPtr, routine, NULL, NULL, \
							  NULL)
#define slot_is_idle(slot) ((slot)->active_proc == INVALID_PROC_NUMBER)

/* access/tableam.h: of all rows */
#define begin_table_scan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL, SO_NONE)

/* utils/jsonb.h: an object or array that is being built; begin with {0} */
#define JsonbBuilder JsonbInState
#define jsonb_push(builder, token, value) pushJsonbValue(builder, token, value)

/* optimizer/planner.h */
#define PLANNER_PARAMS \
	Query *query, const char *text, int options, ParamListInfo params, ExplainState *explain
#define PLANNER_ARGS query, text, options, params, explain

/* c.h: what a signal handler hands on to one that it calls */
#define SIGNAL_ARGS_PASSED postgres_signal_arg, pg_siginfo

#else /* 18 */

/* 19 has no such setting, and only standard strings */
#define HAS_ESCAPE_STRING_WARNING 1

#define ReplOriginId RepOriginId
#define InvalidReplOriginId InvalidRepOriginId
#define transaction_origin replorigin_session_origin
#define transaction_origin_lsn replorigin_session_origin_lsn
#define transaction_origin_timestamp replorigin_session_origin_timestamp

#define check_decoding_requirements() CheckLogicalDecodingRequirements()
#define create_ephemeral_slot(name) \
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false, false, false)
#define create_decoding_context(plugin, routine) \
	CreateInitDecodingContext(plugin, NIL, true, InvalidXLogRecPtr, routine, NULL, NULL, NULL)
#define slot_is_idle(slot) ((slot)->active_pid == 0)

#define begin_table_scan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)

#define JsonbBuilder            \
	struct                      \
	{                           \
		JsonbParseState *state; \
		JsonbValue *result;     \
	}
#define jsonb_push(builder, token, value) \
	((builder)->result = pushJsonbValue(&(builder)->state, token, value))

#define PLANNER_PARAMS Query *query, const char *text, int options, ParamListInfo params
#define PLANNER_ARGS query, text, options, params

#define SIGNAL_ARGS_PASSED postgres_signal_arg

/* c.h, port.h */
#define PG_SIG_DFL SIG_DFL
#if __has_attribute(fallthrough)
#define pg_fallthrough __attribute__((fallthrough))
#else
#define pg_fallthrough
#endif

#endif

/* Round a numeric to an integer; false if there is none so large. */
static inline bool
numeric_to_int4(Numeric numeric, int32 *number)
{
#if PG_VERSION_NUM >= 190000
	ErrorSaveContext errors = {.type = T_ErrorSaveContext};

	*number = numeric_int4_safe(numeric, (Node *) &errors);
	return !errors.error_occurred;
#else
	bool overflow = false;

	*number = numeric_int4_opt_error(numeric, &overflow);
	return !overflow;
#endif
}

#endif /* STEEP_COMPAT_H */
