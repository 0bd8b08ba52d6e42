/*
 * roles.h
 *	  Who can act as whom.
 */
#ifndef STEEP_ROLES_H
#define STEEP_ROLES_H

#include "postgres.h"

#include "utils/relcache.h"

extern bool can_be_role(Oid caller, Oid role);
extern void check_schema_usage(Relation rel);

#endif /* STEEP_ROLES_H */
