/*
 * value_parse.h
 *	  Values from their types' text output.
 */
#ifndef STEEP_VALUE_PARSE_H
#define STEEP_VALUE_PARSE_H

#include "postgres.h"

/* Reads text, which ends with a zero; false where the input function has to. */
typedef bool (*ValueParse)(int32 typmod, char *text, size_t len, Datum *value);

extern ValueParse value_parse_of(Oid type);

#endif /* STEEP_VALUE_PARSE_H */
