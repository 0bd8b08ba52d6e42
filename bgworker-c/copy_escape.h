/*
 * copy_escape.h
 *	  Text as it stands in a field of COPY's.
 */
#ifndef STEEP_COPY_ESCAPE_H
#define STEEP_COPY_ESCAPE_H

#include "postgres.h"

#include "lib/stringinfo.h"

extern void copy_escape(StringInfo line, const char *text, size_t len);

#endif /* STEEP_COPY_ESCAPE_H */
