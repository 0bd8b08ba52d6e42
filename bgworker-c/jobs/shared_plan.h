/*
 * shared_plan.h
 *	  Plans in dynamic shared memory.
 */
#ifndef STEEP_SHARED_PLAN_H
#define STEEP_SHARED_PLAN_H

#include "postgres.h"

#include "storage/dsm.h"

extern void *plan_attach(dsm_handle handle);
extern void plan_detach(dsm_handle handle);

#endif /* STEEP_SHARED_PLAN_H */
