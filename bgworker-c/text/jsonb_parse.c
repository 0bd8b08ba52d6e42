/*
 * jsonb_parse.c
 *	  Reads jsonb from the text that jsonb's output function writes.
 *
 * That text has no white space but single spaces, keys in order and each only
 * once, and few escapes.  So there is nothing to sort, and strings stay where
 * they are.  Whatever looks different in any way is left to jsonb_in, which
 * also finds the words where it is no JSON at all.
 */
#include "text/jsonb_parse.h"

#include "text/byte_mask.h"
#include "text/number_parse.h"
#include "port/pg_bitutils.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* Deeper documents, and longer ones, are for jsonb_in, which has checks for them. */
#define MAX_DEPTH 64
#define MAX_BYTES (1024 * 1024)

typedef struct Parse
{
	char *at;
	int depth;
} Parse;

/* Elements of arrays and objects that are not complete; keys stand before their values. */
static struct
{
	JsonbValue *values;
	int n;
	int size;
} pending;

static bool parse_value(Parse *parse, JsonbValue *value);

static void
push(const JsonbValue *value)
{
	if (pending.n == pending.size)
	{
		int size = Max(256, pending.size * 2);

		if (pending.values == NULL)
			pending.values = MemoryContextAlloc(TopMemoryContext, size * sizeof(JsonbValue));
		else
			pending.values = repalloc(pending.values, size * sizeof(JsonbValue));
		pending.size = size;
	}
	pending.values[pending.n++] = *value;
}

static bool
take(Parse *parse, char expected)
{
	if (*parse->at != expected)
		return false;
	parse->at++;
	return true;
}

static bool
take_word(Parse *parse, const char *word, size_t len)
{
	if (strncmp(parse->at, word, len) != 0)
		return false;
	parse->at += len;
	return true;
}

/* A string without escapes. The zero behind the text is a control character. */
static bool
parse_string(Parse *parse, JsonbValue *value)
{
	char *begin;
	char *end;
	uint32 mask;

	if (!take(parse, '"'))
		return false;
	begin = parse->at;
	for (end = begin; (mask = mask_controls_or(end, '"', '\\')) == 0;)
		end += MASK_BYTES;
	end += pg_rightmost_one_pos32(mask);
	parse->at = end;
	value->type = jbvString;
	value->val.string.val = begin;
	value->val.string.len = end - begin;
	return take(parse, '"');
}

static const char *
skip_digits(const char *text)
{
	while (*text >= '0' && *text <= '9')
		text++;
	return text;
}

/* Where a number ends; NULL where there is none. */
static const char *
number_end(const char *text)
{
	const char *whole = text + (*text == '-');
	const char *end = skip_digits(whole);
	const char *fraction = end + 1;

	if (end == whole || *end != '.')
		return end == whole ? NULL : end;
	end = skip_digits(fraction);
	return end == fraction ? NULL : end;
}

static Numeric
long_number(const char *text, size_t len)
{
	char *copy = pnstrdup(text, len);

	return DatumGetNumeric(
		DirectFunctionCall3(numeric_in, CStringGetDatum(copy), InvalidOid, Int32GetDatum(-1)));
}

/* What must not stand behind it is seen by who called. */
static bool
parse_number(Parse *parse, JsonbValue *value)
{
	const char *first = parse->at + (*parse->at == '-');
	Decimal decimal;
	const char *end = decimal_scan(parse->at, &decimal);
	bool is_short = end != NULL;

	if (!is_short)
		end = number_end(parse->at);
	if (end == NULL || (first[0] == '0' && first[1] >= '0' && first[1] <= '9'))
		return false;
	value->type = jbvNumeric;
	value->val.numeric =
		is_short ? decimal_to_numeric(&decimal) : long_number(parse->at, end - parse->at);
	parse->at = unconstify(char *, end);
	return true;
}

/* The elements pushed since there were `base`, as an array; the caller's memory context. */
static void
pop_array(JsonbValue *value, int base)
{
	int n = pending.n - base;

	value->type = jbvArray;
	value->val.array.nElems = n;
	value->val.array.rawScalar = false;
	value->val.array.elems = palloc(Max(n, 1) * sizeof(JsonbValue));
	memcpy(value->val.array.elems, pending.values + base, n * sizeof(JsonbValue));
	pending.n = base;
}

static bool
parse_array(Parse *parse, JsonbValue *value)
{
	int base = pending.n;

	if (!take(parse, ']'))
	{
		do
		{
			JsonbValue element;

			if (!parse_value(parse, &element))
				return false;
			push(&element);
		} while (take_word(parse, ", ", 2));
		if (!take(parse, ']'))
			return false;
	}
	pop_array(value, base);
	return true;
}

/* Whether keys are in jsonb's order: the shorter first, then by their bytes. */
static bool
keys_ascend(const JsonbValue *left, const JsonbValue *right)
{
	if (left->val.string.len != right->val.string.len)
		return left->val.string.len < right->val.string.len;
	return memcmp(left->val.string.val, right->val.string.val, left->val.string.len) < 0;
}

/* Likewise keys and values, as an object; false where its keys are not in order. */
static bool
pop_object(JsonbValue *value, int base)
{
	int n = (pending.n - base) / 2;
	JsonbPair *pairs = palloc(Max(n, 1) * sizeof(JsonbPair));

	for (int i = 0; i < n; i++)
	{
		const JsonbValue *key = &pending.values[base + 2 * i];

		if (i > 0 && !keys_ascend(key - 2, key))
			return false;
		pairs[i] = (JsonbPair){key[0], key[1], i};
	}
	value->type = jbvObject;
	value->val.object.nPairs = n;
	value->val.object.pairs = pairs;
	pending.n = base;
	return true;
}

static bool
parse_object(Parse *parse, JsonbValue *value)
{
	int base = pending.n;

	if (!take(parse, '}'))
	{
		do
		{
			JsonbValue element;

			if (!parse_string(parse, &element) || !take_word(parse, ": ", 2))
				return false;
			push(&element);
			if (!parse_value(parse, &element))
				return false;
			push(&element);
		} while (take_word(parse, ", ", 2));
		if (!take(parse, '}'))
			return false;
	}
	return pop_object(value, base);
}

static bool
parse_container(Parse *parse, JsonbValue *value)
{
	bool is_object = *parse->at == '{';
	bool ok;

	if (++parse->depth > MAX_DEPTH)
		return false;
	parse->at++;
	ok = is_object ? parse_object(parse, value) : parse_array(parse, value);
	parse->depth--;
	return ok;
}

static bool
parse_value(Parse *parse, JsonbValue *value)
{
	switch (*parse->at)
	{
		case '"':
			return parse_string(parse, value);
		case '{':
		case '[':
			return parse_container(parse, value);
		case 't':
			value->type = jbvBool;
			value->val.boolean = true;
			return take_word(parse, "true", 4);
		case 'f':
			value->type = jbvBool;
			value->val.boolean = false;
			return take_word(parse, "false", 5);
		case 'n':
			value->type = jbvNull;
			return take_word(parse, "null", 4);
		default:
			return parse_number(parse, value);
	}
}

/*
 * The jsonb, in CurrentMemoryContext; NULL where jsonb_in must read the text.
 * A zero, and as much as a vector may read, must follow the text.
 */
Jsonb *
jsonb_parse(char *text, size_t len)
{
	Parse parse = {text, 0};
	JsonbValue value;

	/* a scalar is an array of its own kind */
	if (len > MAX_BYTES || (*text != '{' && *text != '['))
		return NULL;
	pending.n = 0;
	if (!parse_container(&parse, &value) || parse.at != text + len)
		return NULL;
	return JsonbValueToJsonb(&value);
}
