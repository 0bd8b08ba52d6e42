/*
 * planner.h
 *	  What TypeScript says a job is to do next.
 */
#ifndef STEEP_PLANNER_H
#define STEEP_PLANNER_H

#include "postgres.h"

#include "jobs/run.h"

extern Jsonb *planner_next_action(JobRun *run);

#endif /* STEEP_PLANNER_H */
