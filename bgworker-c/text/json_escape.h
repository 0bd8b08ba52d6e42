/*
 * json_escape.h
 *	  Text as it stands in a JSON string, as PostgreSQL writes it.
 */
#ifndef STEEP_JSON_ESCAPE_H
#define STEEP_JSON_ESCAPE_H

#include "postgres.h"

#include "lib/stringinfo.h"

extern size_t json_plain_bytes(const char *text, size_t len);
extern void json_escape(StringInfo line, const char *text, size_t len);

#endif /* STEEP_JSON_ESCAPE_H */
