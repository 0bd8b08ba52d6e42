/*
 * toc_statement.c
 *	  The SQL that recreates one entry of an archive.
 *
 * pg_dump leaves owner, tablespace and access method out of an entry's text
 * and in fields of their own; pg_restore makes statements of them, and so do
 * we.  It sets a default only where it changes; here each text brings its own,
 * because workers take entries in any order.
 */
#include "postgres.h"

#include "catalog/pg_class_d.h"
#include "lib/stringinfo.h"
#include "toc/toc_statement.h"
#include "utils/builtins.h"

/* Kinds that pg_restore runs only with --create, sets up itself, or loads. */
static const char *const kinds_without_statement[] = {
	"BLOB",     "BLOB METADATA", "BLOBS",      "DATABASE",   "DATABASE PROPERTIES",
	"ENCODING", "SEARCHPATH",    "STDSTRINGS", "TABLE DATA",
};

/* Kinds whose ALTER names them by tag, after their schema if they are in one. */
static const char *const kinds_owned_by_name[] = {
	"COLLATION",
	"CONVERSION",
	"DOMAIN",
	"EVENT TRIGGER",
	"FOREIGN DATA WRAPPER",
	"FOREIGN TABLE",
	"MATERIALIZED VIEW",
	"PROCEDURAL LANGUAGE",
	"PUBLICATION",
	"SCHEMA",
	"SEQUENCE",
	"SERVER",
	"STATISTICS",
	"SUBSCRIPTION",
	"TABLE",
	"TEXT SEARCH CONFIGURATION",
	"TEXT SEARCH DICTIONARY",
	"TYPE",
	"VIEW",
};

/* Kinds whose name needs arguments or a method, as in their DROP statement. */
static const char *const kinds_owned_by_signature[] = {
	"AGGREGATE", "FUNCTION", "OPERATOR", "OPERATOR CLASS", "OPERATOR FAMILY", "PROCEDURE",
};

/* Kinds that belong to whoever owns the object that they are part of. */
static const char *const kinds_without_owner[] = {
	"CAST",   "CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "INDEX",
	"POLICY", "ROW SECURITY",     "RULE",       "TRIGGER", "USER MAPPING",
};

static bool
is_one_of(const char *desc, const char *const *kinds, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (strcmp(desc, kinds[i]) == 0)
			return true;
	}
	return false;
}

#define IS_ONE_OF(desc, kinds) is_one_of(desc, kinds, lengthof(kinds))

static bool
is_empty(const char *string)
{
	return string == NULL || string[0] == '\0';
}

/* Whether SQL has nothing but comments, as where initdb has made the schema. */
static bool
is_only_comment(const char *sql)
{
	while (*sql != '\0')
	{
		sql += strspn(sql, " \n");
		if (*sql != '\0' && strncmp(sql, "--", 2) != 0)
			return false;
		sql += strcspn(sql, "\n");
	}
	return true;
}

/* A comment, a right or a label of the database, whose name the archive fixes. */
static bool
is_about_database(const TocEntry *entry)
{
	return entry->section == TOC_NONE && strncmp(entry->tag, "DATABASE ", 9) == 0;
}

/*
 * The defaults that the definition relies on.  A tablespace of '' is the
 * database's own; NULL means that the entry has no storage.
 */
static void
append_defaults(StringInfo sql, const TocEntry *entry)
{
	if (entry->tablespace != NULL)
		appendStringInfo(sql, "SET default_tablespace = %s;\n",
						 entry->tablespace[0] != '\0' ? quote_identifier(entry->tablespace) : "''");
	if (entry->tableam != NULL && entry->relkind != RELKIND_PARTITIONED_TABLE)
		appendStringInfo(sql, "SET default_table_access_method = %s;\n",
						 quote_identifier(entry->tableam));
}

/*
 * A partitioned table without storage would not keep the default; it says so
 * itself what its partitions shall have.
 */
static void
append_access_method(StringInfo sql, const TocEntry *entry)
{
	if (entry->tableam == NULL || entry->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	appendStringInfo(sql, "ALTER TABLE %s SET ACCESS METHOD %s;\n",
					 quote_qualified_identifier(entry->schema, entry->tag),
					 quote_identifier(entry->tableam));
}

/* The object in a DROP statement: what is between DROP and the semicolon. */
static void
append_dropped_object(StringInfo sql, const TocEntry *entry)
{
	const char *object;
	int len;

	if (strncmp(entry->drop_stmt, "DROP ", strlen("DROP ")) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("archive's %s \"%s\" has no DROP statement to take its name from",
							   entry->desc, entry->tag)));
	object = entry->drop_stmt + strlen("DROP ");
	len = strlen(object);
	while (len > 0 && (object[len - 1] == '\n' || object[len - 1] == ';'))
		len--;
	appendBinaryStringInfo(sql, object, len);
}

/* pg_dump gives a DROP statement to what can be owned, and to some more. */
static void
append_owner(StringInfo sql, const TocEntry *entry)
{
	if (is_empty(entry->owner) || is_empty(entry->drop_stmt) ||
		IS_ONE_OF(entry->desc, kinds_without_owner))
		return;

	appendStringInfoString(sql, "ALTER ");
	if (IS_ONE_OF(entry->desc, kinds_owned_by_name))
		appendStringInfo(
			sql, "%s %s", entry->desc,
			quote_qualified_identifier(is_empty(entry->schema) ? NULL : entry->schema, entry->tag));
	else if (IS_ONE_OF(entry->desc, kinds_owned_by_signature))
		append_dropped_object(sql, entry);
	else
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("archive has an object of a kind that is not supported"),
				 errdetail("The owner of %s \"%s\" cannot be set.", entry->desc, entry->tag)));
	appendStringInfo(sql, " OWNER TO %s;\n", quote_identifier(entry->owner));
}

/*
 * The statements that recreate an entry, as pg_restore would send them; NULL
 * if there is nothing to run.  They need pg_dump's settings around them: an
 * empty search_path above all.
 */
char *
toc_entry_statement(const TocEntry *entry, bool no_owner)
{
	StringInfoData sql;

	if (IS_ONE_OF(entry->desc, kinds_without_statement) || is_about_database(entry) ||
		is_empty(entry->defn))
		return NULL;

	initStringInfo(&sql);
	if (!is_only_comment(entry->defn))
	{
		append_defaults(&sql, entry);
		appendStringInfo(&sql, "%s\n", entry->defn);
		append_access_method(&sql, entry);
	}
	/* also the schema public, which was there, may have got another owner */
	if (!no_owner)
		append_owner(&sql, entry);
	return sql.len > 0 ? sql.data : NULL;
}
