/*
 * sanitize.h
 *	  Our parsers outside of a server, under the compiler's sanitizers.
 */
#ifndef STEEP_SANITIZE_H
#define STEEP_SANITIZE_H

#include "postgres.h"

/* One parser. The input is not its own to write to, and nothing is behind it. */
typedef struct Target
{
	const char *name;
	void (*run)(const char *input, size_t len);
	const char *const *words; /* that mutations put in; NULL ends them */
	int cost;                 /* so many times fewer inputs */
} Target;

/* targets.c; an entry without a name ends them */
extern const Target targets[];

/* stand_ins.c */
extern bool run_guarded(void (*run)(const char *input, size_t len), const char *input, size_t len);
extern void set_database_encoding(int encoding);
extern volatile uint8 seen;
extern void look_at(const void *bytes, size_t len);

#endif /* STEEP_SANITIZE_H */
