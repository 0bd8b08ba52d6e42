/*
 * jsonb_format.h
 *	  Jsonb as its output function writes it.
 */
#ifndef STEEP_JSONB_FORMAT_H
#define STEEP_JSONB_FORMAT_H

#include "postgres.h"

#include "text/copy_escape.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"

extern void jsonb_format(StringInfo line, JsonbContainer *container, TextEscape escape);

#endif /* STEEP_JSONB_FORMAT_H */
