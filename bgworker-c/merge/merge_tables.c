/*
 * merge_tables.c
 *	  The tables of a merge, as the coordinator knows them.
 *
 * What a merge writes down of a row names its table and its key. By it the row
 * is given back later, maybe by a superuser. So both are read once, before any
 * row is, and are checked here: code of the requester, such as a trigger, may
 * do with the temporary tables that the merge works with what it likes.
 */
#include "merge/merge.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "base/settings.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rls.h"

static int
read_texts(char *literal, Datum **texts)
{
	int n;
	ArrayType *array = DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, literal, TEXTOID, -1));

	deconstruct_array_builtin(array, TEXTOID, texts, NULL, &n);
	return n;
}

static bool
is_reserved(Oid namespace)
{
	char *name = get_namespace_name(namespace);

	return name == NULL || IsCatalogNamespace(namespace) || IsToastNamespace(namespace) ||
		   isAnyTempNamespace(namespace) || strcmp(name, "information_schema") == 0 ||
		   strcmp(name, STEEP_NAME) == 0;
}

/* The table of that name, if it is one that can be merged. */
static Oid
find_relation(const char *name)
{
	List *names = stringToQualifiedNameList(name, NULL);
	Oid relid = list_length(names) == 2
					? RangeVarGetRelid(makeRangeVarFromNameList(names), NoLock, true)
					: InvalidOid;
	char kind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	if ((kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) ||
		is_reserved(get_rel_namespace(relid)))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is no table that can be merged", name)));
	return relid;
}

static void
check_key(const MergeTable *table)
{
	Datum *columns;
	int n = read_texts(pstrdup(table->key), &columns);

	for (int i = 0; i < n; i++)
		if (get_attnum(table->relid, TextDatumGetCString(columns[i])) <= 0)
			n = 0;
	if (n == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("the key of table %s has columns that are not there", table->name)));
}

static MergeTable
make_table(JobRun *run, const char *name, const char *key)
{
	MergeTable table = {.relid = find_relation(name)};
	char *whole = quote_qualified_identifier(get_namespace_name(get_rel_namespace(table.relid)),
											 get_rel_name(table.relid));

	table.name = MemoryContextStrdup(run->context, whole);
	table.key = MemoryContextStrdup(run->context, key);
	check_key(&table);
	return table;
}

/* All tables of the merge, once they are planned: their names and keys, as arrays' texts. */
void
merge_tables_keep(JobRun *run, int n_tables, char *names_text, char *keys_text)
{
	Datum *names;
	Datum *keys;

	if (read_texts(names_text, &names) != n_tables || read_texts(keys_text, &keys) != n_tables)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION), errmsg("the plans of a merge are not complete")));
	run->merge->n_tables = n_tables;
	run->merge->tables = MemoryContextAlloc(run->context, Max(n_tables, 1) * sizeof(MergeTable));
	for (int i = 0; i < n_tables; i++)
		run->merge->tables[i] =
			make_table(run, TextDatumGetCString(names[i]), TextDatumGetCString(keys[i]));
}

/* A table by its number, which comes from JavaScript or from a temporary table. */
const MergeTable *
merge_table(JobRun *run, int no)
{
	if (no < 1 || no > run->merge->n_tables)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a merge has no table %d", no)));
	return &run->merge->tables[no - 1];
}

/* What a role must be allowed to do with a table here; rows at the peer are locked here, which takes UPDATE. */
static AclMode
needed_right(const char *action)
{
	if (strcmp(action, "insert_local") == 0)
		return ACL_INSERT;
	return strcmp(action, "delete_local") == 0 ? ACL_DELETE : ACL_UPDATE;
}

/* Whether what is written down of this action is what the requester may do. */
void
merge_table_check(const MergeTable *table, const char *action)
{
	static const char *const actions[] = {"insert_local", "update_local",  "delete_local",
										  "manual",       "insert_remote", "update_remote",
										  "delete_remote"};
	bool is_known = false;

	for (size_t i = 0; i < lengthof(actions); i++)
		is_known = is_known || strcmp(actions[i], action) == 0;
	if (!is_known)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a merge has no such action")));
	if ((pg_class_aclcheck(table->relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		 pg_attribute_aclcheck_all(table->relid, GetUserId(), ACL_SELECT, ACLMASK_ALL) !=
			 ACLCHECK_OK) ||
		pg_class_aclcheck(table->relid, GetUserId(), needed_right(action)) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, table->name);
	(void) check_enable_rls(table->relid, InvalidOid, false);
}
