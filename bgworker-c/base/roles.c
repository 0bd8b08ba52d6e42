/*
 * roles.c
 *	  Who can act as whom.
 */
#include "base/roles.h"

#include "utils/acl.h"

/*
 * Whether a caller can act as a role. Membership alone is not enough: a role may
 * be granted for its administration only, without its rights.
 */
bool
can_be_role(Oid caller, Oid role)
{
	return has_privs_of_role(caller, role) || member_can_set_role(caller, role);
}
