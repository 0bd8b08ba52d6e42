/*
 * numeric_format.h
 *	  Numerics as their output function writes them.
 */
#ifndef STEEP_NUMERIC_FORMAT_H
#define STEEP_NUMERIC_FORMAT_H

#include "postgres.h"

#include "lib/stringinfo.h"

extern bool numeric_format(StringInfo line, Datum value);

#endif /* STEEP_NUMERIC_FORMAT_H */
