/*
 * action.c
 *	  Reads the members of an action, a flat JSON object that TypeScript made.
 */
#include "coordinator.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

static JsonbValue *
find(Jsonb *action, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&action->root, key, strlen(key), value);
}

/* A string member, or NULL if it is absent or no string. */
char *
action_text(Jsonb *action, const char *key)
{
	JsonbValue value;

	if (find(action, key, &value) == NULL || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* An object or array member as JSON text, or NULL. */
char *
action_json(Jsonb *action, const char *key)
{
	JsonbValue value;
	Jsonb *member;

	if (find(action, key, &value) == NULL || value.type != jbvBinary)
		return NULL;
	member = JsonbValueToJsonb(&value);
	return JsonbToCString(NULL, &member->root, VARSIZE(member));
}

/* An integer member, or the default. */
int
action_int(Jsonb *action, const char *key, int dflt)
{
	JsonbValue value;

	if (find(action, key, &value) == NULL || value.type != jbvNumeric)
		return dflt;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value.val.numeric)));
}
