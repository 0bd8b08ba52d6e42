/*
 * time_parse.h
 *	  Reads dates and times from text as ISO 8601 has them.
 */
#ifndef STEEP_TIME_PARSE_H
#define STEEP_TIME_PARSE_H

#include "postgres.h"

#include "utils/timestamp.h"

extern bool date_scan(const char *text, char end, int32 *days);
extern const char *timestamp_scan(const char *text, Timestamp *timestamp);

#endif /* STEEP_TIME_PARSE_H */
