/*
 * jsonb_parse.h
 *	  Reads jsonb from the text that jsonb's output function writes.
 */
#ifndef STEEP_JSONB_PARSE_H
#define STEEP_JSONB_PARSE_H

#include "postgres.h"

#include "utils/jsonb.h"

extern Jsonb *jsonb_parse(char *text, size_t len);

#endif /* STEEP_JSONB_PARSE_H */
