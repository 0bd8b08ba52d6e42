/*
 * action.c
 *	  Holds an answer of the planner against the table of actions of its job, and
 *	  reads its members.
 *
 * A role can change what JavaScript says in its sessions, and so in its
 * workers. So an answer may be anything: what is not in the table, in another
 * order, or of other types, is an error of the job.
 */
#include "jobs/action.h"

#include "base/compat.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

/* Of every kind of job, as the library has registered them. */
static const ActionTable *tables[8];
static size_t n_tables = 0;

/* Refuse what the planner answered: the one error for all of it. */
void
wrong_answer(const char *format, ...)
{
	char what[512];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	ereport(
		ERROR,
		(errcode(ERRCODE_EXTERNAL_ROUTINE_INVOCATION_EXCEPTION),
		 errmsg("the planner of this job gave a wrong answer: %s", what),
		 errdetail("What a planner answers is checked before it is done."),
		 errhint(
			 "Something has changed what JavaScript does for this role, or it is a bug. The server log has more; the job can be retried with steep_repl.retry_operation(id).")));
}

/* Called when the library is loaded. */
void
action_register(const ActionTable *table)
{
	Assert(n_tables < lengthof(tables));
	tables[n_tables++] = table;
}

const ActionTable *
action_table(const char *operation)
{
	for (size_t i = 0; i < n_tables; i++)
		if (strcmp(tables[i]->operation, operation) == 0)
			return tables[i];
	return NULL;
}

static JsonbValue *
find(Jsonb *action, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&action->root, name, (int) strlen(name), value);
}

/* Whether an array has texts only. */
static bool
is_array_of_texts(const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue item;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerIsScalar(value->val.binary.data))
		return false;
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
		if (token == WJB_ELEM && item.type != jbvString)
			return false;
	return true;
}

static bool
is_text(const JsonbValue *value, const char *text)
{
	return value->type == jbvString && value->val.string.len == (int) strlen(text) &&
		   memcmp(value->val.string.val, text, value->val.string.len) == 0;
}

static bool
is_of_type(const JsonbValue *value, MemberType type)
{
	int32 number;

	switch (type)
	{
		case MEMBER_TEXT:
			return value->type == jbvString;
		case MEMBER_TEXTS:
			return is_array_of_texts(value);
		case MEMBER_FLAG:
			return is_text(value, "yes") || is_text(value, "no");
		case MEMBER_INTEGER:
		case MEMBER_COUNT:
			if (value->type != jbvNumeric)
				return false;
			return numeric_to_int4(value->val.numeric, &number) &&
				   (type == MEMBER_INTEGER || number >= 1);
	}
	return false;
}

static void
check_member(const Action *action, const ActionMember *member, Jsonb *answer)
{
	static const char *const types[] = {[MEMBER_TEXT] = "a text",
										[MEMBER_TEXTS] = "an array of texts",
										[MEMBER_FLAG] = "yes or no",
										[MEMBER_INTEGER] = "an integer",
										[MEMBER_COUNT] = "a positive integer"};
	JsonbValue value;
	bool is_absent = find(answer, member->name, &value) == NULL || value.type == jbvNull;

	if (is_absent ? !member->is_optional : !is_of_type(&value, member->type))
		wrong_answer("\"%s\" of action %s is not %s", member->name, action->kind,
					 types[member->type]);
}

static bool
may_follow(const Action *action, const char *done)
{
	const char *before = done ? done : ACTION_START;

	for (size_t i = 0; i < lengthof(action->after) && action->after[i] != NULL; i++)
		if (strcmp(action->after[i], before) == 0)
			return true;
	return false;
}

/* The action that an answer means. */
static const Action *
find_action(const ActionTable *table, Jsonb *answer)
{
	JsonbValue kind;

	if (!JB_ROOT_IS_OBJECT(answer))
		wrong_answer("it is no object");
	if (find(answer, "kind", &kind) == NULL || kind.type != jbvString)
		wrong_answer("it does not name an action");
	for (size_t i = 0; i < table->n; i++)
		if (is_text(&kind, table->actions[i].kind))
			return &table->actions[i];
	wrong_answer("there is no such action of %s", table->operation);
}

/*
 * What an answer means, if it may be done now: after what was done last, and,
 * where that left no other choice, if it is what is expected.
 */
const Action *
action_check(const ActionTable *table, const char *done, const char *expected, Jsonb *answer)
{
	static const ActionMember warnings = {"warnings", MEMBER_TEXTS, true};
	const Action *action = find_action(table, answer);
	JsonbValue phase;

	if (!may_follow(action, done) || (expected != NULL && strcmp(action->kind, expected) != 0))
		wrong_answer("action %s does not come after %s", action->kind, done ? done : ACTION_START);
	if (find(answer, "phase", &phase) == NULL || phase.type != jbvString ||
		phase.val.string.len >= MAX_PHASE_LEN ||
		(action->phase != NULL && !is_text(&phase, action->phase)))
		wrong_answer("action %s is not of that phase", action->kind);
	check_member(action, &warnings, answer);
	for (size_t i = 0; i < lengthof(action->members) && action->members[i].name != NULL; i++)
		check_member(action, &action->members[i], answer);
	return action;
}

/* Tables and steps are done one after the other. */
void
action_check_number(int given, int expected)
{
	if (given != expected)
		wrong_answer("number %d comes where %d is due", given, expected);
}

char *
action_text(Jsonb *action, const char *name)
{
	JsonbValue value;

	if (find(action, name, &value) == NULL || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/* An array member as JSON text. */
char *
action_json(Jsonb *action, const char *name)
{
	JsonbValue value;
	Jsonb *member;

	if (find(action, name, &value) == NULL || value.type != jbvBinary)
		return NULL;
	member = JsonbValueToJsonb(&value);
	return JsonbToCString(NULL, &member->root, VARSIZE(member));
}

bool
action_flag(Jsonb *action, const char *name)
{
	JsonbValue value;

	return find(action, name, &value) != NULL && is_text(&value, "yes");
}

int
action_int(Jsonb *action, const char *name, int dflt)
{
	JsonbValue value;
	int32 number;

	if (find(action, name, &value) == NULL || value.type != jbvNumeric)
		return dflt;
	return numeric_to_int4(value.val.numeric, &number) ? number : dflt;
}
