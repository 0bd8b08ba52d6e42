/*
 * apply_plan.c
 *	  Hands out the items of an apply's steps.
 *
 * Most steps are a list: an item may be taken once as many items as it says are
 * done, which makes a step parallel (0), serial (its own number) or a sequence
 * of levels. The post-data step is a graph: an item waits for the objects that
 * it needs, and never runs beside one whose lock on a table it would wait for.
 */
#include "apply/apply_plan.h"

ApplyTable *
plan_tables(ApplyPlan *plan)
{
	return (ApplyTable *) ((char *) plan + plan->tables);
}

ApplyObject *
plan_objects(ApplyPlan *plan)
{
	return (ApplyObject *) ((char *) plan + plan->objects);
}

ApplyItem *
plan_items(ApplyPlan *plan)
{
	return (ApplyItem *) ((char *) plan + plan->items);
}

uint32 *
plan_refs(ApplyPlan *plan)
{
	return (uint32 *) ((char *) plan + plan->refs);
}

ApplyFrame *
plan_frames(ApplyPlan *plan)
{
	return (ApplyFrame *) ((char *) plan + plan->frames);
}

/* Let appliers take the items of a step; the one before it is done. */
void
apply_plan_open_step(ApplyPlan *plan, ApplyStep step)
{
	LWLockAcquire(&plan->lock, LW_EXCLUSIVE);
	plan->step = step;
	LWLockRelease(&plan->lock);
	ConditionVariableBroadcast(&plan->changed);
}

bool
apply_plan_step_is_done(ApplyPlan *plan, ApplyStep step)
{
	bool result;

	LWLockAcquire(&plan->lock, LW_SHARED);
	result = plan->steps[step].done == plan->steps[step].n;
	LWLockRelease(&plan->lock);
	return result;
}

static bool
needs_are_met(ApplyPlan *plan, const ApplyItem *item)
{
	const uint32 *needed = plan_refs(plan) + item->first_needed;

	for (uint32 i = 0; i < item->n_needed; i++)
		if (plan_items(plan)[needed[i]].state != ITEM_DONE)
			return false;
	return true;
}

/* Whether one of two items wants a table for itself that the other uses too. */
static bool
locks_conflict(ApplyPlan *plan, const ApplyItem *a, const ApplyItem *b)
{
	const uint32 *tables_a = plan_refs(plan) + a->first_locked;
	const uint32 *tables_b = plan_refs(plan) + b->first_locked;

	if (a->alone || b->alone)
		return true;
	if (!a->exclusive && !b->exclusive)
		return false;
	for (uint32 i = 0; i < a->n_locked; i++)
		for (uint32 j = 0; j < b->n_locked; j++)
			if (tables_a[i] == tables_b[j])
				return true;
	return false;
}

static bool
conflicts_with_running(ApplyPlan *plan, const ApplyItem *item)
{
	for (int i = 0; i < STEEP_MAX_COPIERS; i++)
		if (plan->running[i] >= 0 &&
			locks_conflict(plan, item, &plan_items(plan)[plan->running[i]]))
			return true;
	return false;
}

/* The first item of the graph that may run now. */
static bool
find_ready(ApplyPlan *plan, StepState *step, uint32 *found)
{
	ApplyItem *items = plan_items(plan);

	while (step->next < step->n && items[step->first + step->next].state != ITEM_WAITING)
		step->next++;
	for (uint32 i = step->next; i < step->n; i++)
	{
		ApplyItem *item = &items[step->first + i];

		if (item->state == ITEM_WAITING && needs_are_met(plan, item) &&
			!conflicts_with_running(plan, item))
		{
			*found = step->first + i;
			return true;
		}
	}
	return false;
}

static bool
find_next(ApplyPlan *plan, StepState *step, uint32 *found)
{
	if (step->next == step->n || step->done < plan_items(plan)[step->first + step->next].after)
		return false;
	*found = step->first + step->next++;
	return true;
}

static bool
any_is_running(const ApplyPlan *plan)
{
	for (int i = 0; i < STEEP_MAX_COPIERS; i++)
		if (plan->running[i] >= 0)
			return true;
	return false;
}

/* Take an item of the step at hand; false if none may run now. */
bool
apply_plan_take(ApplyPlan *plan, int worker, uint32 *item)
{
	StepState *step;
	bool found;
	bool stuck;

	LWLockAcquire(&plan->lock, LW_EXCLUSIVE);
	step = &plan->steps[plan->step];
	found =
		plan->step == STEP_POST_DATA ? find_ready(plan, step, item) : find_next(plan, step, item);
	if (found)
	{
		plan_items(plan)[*item].state = ITEM_RUNNING;
		plan->running[worker] = (int) *item;
	}
	stuck = !found && step->done < step->n && !any_is_running(plan);
	LWLockRelease(&plan->lock);
	if (stuck)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("entries of the archive depend on each other in a circle")));
	return found;
}

/*
 * Whether an item that is done lets others begin. Who did it takes the next one
 * himself: in a serial step nobody else need wake up.
 */
static bool
lets_others_begin(ApplyPlan *plan, const StepState *step)
{
	if (plan->step == STEP_POST_DATA)
		return true;
	return step->next + 1 < step->n &&
		   plan_items(plan)[step->first + step->next + 1].after <= step->done;
}

/* The applier's item is committed; true if that ends the step. */
bool
apply_plan_item_done(ApplyPlan *plan, int worker)
{
	StepState *step;
	bool last;
	bool wake;

	LWLockAcquire(&plan->lock, LW_EXCLUSIVE);
	step = &plan->steps[plan->step];
	plan_items(plan)[plan->running[worker]].state = ITEM_DONE;
	plan->running[worker] = -1;
	last = ++step->done == step->n;
	wake = lets_others_begin(plan, step);
	LWLockRelease(&plan->lock);
	if (wake)
		ConditionVariableBroadcast(&plan->changed);
	return last;
}
