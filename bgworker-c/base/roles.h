/*
 * roles.h
 *	  Who can act as whom.
 */
#ifndef STEEP_ROLES_H
#define STEEP_ROLES_H

#include "postgres.h"

extern bool can_be_role(Oid caller, Oid role);

#endif /* STEEP_ROLES_H */
