/*
 * remover.h
 *	  The worker that removes the files of jobs that were lost.
 */
#ifndef STEEP_REMOVER_H
#define STEEP_REMOVER_H

#include "postgres.h"

extern bool remover_start(void);

#endif /* STEEP_REMOVER_H */
