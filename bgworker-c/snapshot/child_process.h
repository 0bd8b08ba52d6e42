/*
 * child_process.h
 *	  Runs a program as a child of this backend: text into its standard
 *	  input, its output into memory, and no child left behind.
 */
#ifndef STEEP_CHILD_PROCESS_H
#define STEEP_CHILD_PROCESS_H

#include "postgres.h"

#include "snapshot/child_pump.h"

extern void child_process_run(const ChildRequest *request, ChildResult *result);

#endif /* STEEP_CHILD_PROCESS_H */
