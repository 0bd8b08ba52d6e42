/*
 * jsonb_format.h
 *	  Jsonb as it stands in a field of COPY's.
 */
#ifndef STEEP_JSONB_FORMAT_H
#define STEEP_JSONB_FORMAT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

extern void jsonb_format(StringInfo line, JsonbContainer *container);

#endif /* STEEP_JSONB_FORMAT_H */
