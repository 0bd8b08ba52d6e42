/*
 * time_parse.c
 *	  Reads dates and times from text as ISO 8601 has them.
 *
 * That is how snapshots have them. The years 1 to 9999 have four digits there,
 * so that each part stands at its place.
 */
#include "text/time_parse.h"

#include "utils/datetime.h"

/* Two digits, and what stands behind them. */
static bool
two_digits(const char *text, int *value, char end)
{
	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9' || text[2] != end)
		return false;
	*value = (text[0] - '0') * 10 + (text[1] - '0');
	return true;
}

/* YYYY-MM-DD and an end, as days since 2000-01-01. */
bool
date_scan(const char *text, char end, int32 *days)
{
	int century;
	int year;
	int month;
	int day;

	/* behind the century anything may stand: the year's digits, as is then seen */
	if (!two_digits(text, &century, text[2]) || !two_digits(text + 2, &year, '-') ||
		!two_digits(text + 5, &month, '-') || !two_digits(text + 8, &day, end))
		return false;
	year += century * 100;
	if (year == 0 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1])
		return false;
	*days = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	return true;
}

/* The part of a second, in microseconds, where there is one; where it ended. */
static const char *
scan_fraction(const char *text, int64 *microseconds)
{
	int64 unit = USECS_PER_SEC;

	*microseconds = 0;
	if (*text != '.')
		return text;
	for (text++; *text >= '0' && *text <= '9'; text++)
	{
		unit /= 10;
		*microseconds += (*text - '0') * unit;
		if (unit == 0)
			return NULL;
	}
	return unit == USECS_PER_SEC ? NULL : text;
}

/* Date and time of day as ISO 8601 has them, but for the blank; where they ended. */
const char *
timestamp_scan(const char *text, Timestamp *timestamp)
{
	int32 days;
	int hours;
	int minutes;
	int seconds;
	int64 fraction;

	if (!date_scan(text, ' ', &days) || !two_digits(text + 11, &hours, ':') ||
		!two_digits(text + 14, &minutes, ':') || !two_digits(text + 17, &seconds, text[19]) ||
		hours >= HOURS_PER_DAY || minutes >= MINS_PER_HOUR || seconds >= SECS_PER_MINUTE)
		return NULL;
	text = scan_fraction(text + 19, &fraction);
	*timestamp = days * USECS_PER_DAY + hours * USECS_PER_HOUR + minutes * USECS_PER_MINUTE +
				 seconds * USECS_PER_SEC + fraction;
	return text;
}
