/*
 * steep_repl.c
 *	  Module load: settings, shared memory, launcher.
 */
#include "base/settings.h"
#include "session/session.h"
#include "workers/launcher.h"
#include "fmgr.h"

#include "access/xlog.h"
#include "jobs/action.h"
#include "miscadmin.h"
#include "jobs/shared_state.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC_EXT(.name = STEEP_NAME, .version = STEEP_REPL_VERSION);

PG_FUNCTION_INFO_V1(steep_repl_library_version);
PG_FUNCTION_INFO_V1(steep_repl_system_identifier);
PG_FUNCTION_INFO_V1(steep_repl_is_here);
PG_FUNCTION_INFO_V1(steep_repl_preloaded);

/*
 * Called once by the postmaster when preloaded, or by a backend that first
 * calls one of our functions when not: then there is no shared memory and no
 * launcher, and everything that needs neither still works.
 */
void
_PG_init(void)
{
	settings_init();
	queue_wake_init();
	error_context_init();
	trusted_code_init();

	action_register(&snapshot_actions);
	action_register(&apply_actions);
	action_register(&overlap_actions);
	action_register(&merge_actions);
	action_register(&undo_actions);
	action_register(&pair_actions);
	action_register(&fetch_actions);

	if (!process_shared_preload_libraries_in_progress)
		return;

	shared_state_init();
	launcher_register();
	lock_guard_init();
	apply_errors_init();
}

/* The version that this library was built as. */
Datum
steep_repl_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(STEEP_REPL_VERSION));
}

/* This cluster's system identifier as text: it exceeds what a double holds. */
Datum
steep_repl_system_identifier(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(psprintf(UINT64_FORMAT, GetSystemIdentifier())));
}

/*
 * Whether a row belongs to this cluster and this database. Others come along
 * with a template database, or through somebody's FOR ALL TABLES publication.
 */
Datum
steep_repl_is_here(PG_FUNCTION_ARGS)
{
	char *here = psprintf(UINT64_FORMAT, GetSystemIdentifier());

	PG_RETURN_BOOL(PG_GETARG_OID(1) == MyDatabaseId &&
				   strcmp(text_to_cstring(PG_GETARG_TEXT_PP(0)), here) == 0);
}

/* Whether shared_preload_libraries names us, so that our shared memory exists. */
Datum
steep_repl_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(steep_shared != NULL);
}
