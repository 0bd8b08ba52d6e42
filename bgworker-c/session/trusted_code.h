/*
 * trusted_code.h
 *	  What the parts of the guard against table owners' code share.
 */
#ifndef STEEP_TRUSTED_CODE_H
#define STEEP_TRUSTED_CODE_H

#include "postgres.h"

/* trusted_planning.c */
extern void trusted_planning_init(void);
extern bool planning_is_restricted(void);
extern Oid planning_reader(void);
extern bool is_table_of_others(Oid relation);

/* trusted_execution.c */
extern void trusted_execution_init(void);
extern bool execution_is_restricted(void);

#endif /* STEEP_TRUSTED_CODE_H */
