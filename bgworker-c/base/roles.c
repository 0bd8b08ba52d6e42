/*
 * roles.c
 *	  Who can act as whom.
 */
#include "base/roles.h"

#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/*
 * Whether a caller can act as a role. Membership alone is not enough: a role may
 * be granted for its administration only, without its rights.
 */
bool
can_be_role(Oid caller, Oid role)
{
	return has_privs_of_role(caller, role) || member_can_set_role(caller, role);
}

/* Who names a table needs USAGE of its schema; so does who has it by its oid. */
void
check_schema_usage(Relation rel)
{
	Oid schema = RelationGetNamespace(rel);
	AclResult usage = object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_USAGE);

	if (usage != ACLCHECK_OK)
		aclcheck_error(usage, OBJECT_SCHEMA, get_namespace_name(schema));
}
