/*
 * shared_plan.c
 *	  Plans in dynamic shared memory: what the workers of a job take their work
 *	  from.
 */
#include "jobs/shared_plan.h"

/* Map a plan, of a snapshot or an apply, in a helper for as long as it lives. */
void *
plan_attach(dsm_handle handle)
{
	dsm_segment *segment = dsm_attach(handle);

	if (segment == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the operation has ended")));
	dsm_pin_mapping(segment);
	return dsm_segment_address(segment);
}

/* The coordinator drops a plan that it makes anew. */
void
plan_detach(dsm_handle handle)
{
	dsm_segment *segment = dsm_find_mapping(handle);

	if (segment != NULL)
		dsm_detach(segment);
}
