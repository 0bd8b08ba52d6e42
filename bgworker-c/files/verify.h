/*
 * verify.h
 *	  Compares a snapshot directory with its manifest, byte by byte.
 */
#ifndef STEEP_VERIFY_H
#define STEEP_VERIFY_H

#include "postgres.h"

#include "files/manifest_read.h"

typedef void (*ProblemCallback)(const SnapshotProblem *problem, void *arg);

/* Calls back for each problem; returns how many there were. */
extern uint64 verify_files(int dirfd, const Manifest *manifest, ProblemCallback report, void *arg);

#endif /* STEEP_VERIFY_H */
