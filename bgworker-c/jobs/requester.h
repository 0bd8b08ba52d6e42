/*
 * requester.h
 *	  What a coordinator does as the role that asked for the job: SQL with that
 *	  role's rights, here and at a peer.
 */
#ifndef STEEP_REQUESTER_H
#define STEEP_REQUESTER_H

#include "base/sql_args.h"
#include "jobs/run.h"

extern void requester_begin(void);
extern void requester_commit(void);
extern void requester_select(JobRun *run, char **results, int n_results, const char *sql, int n,
							 const SqlArg *args);
extern void requester_texts(JobRun *run, char **results, int n_results, const char *sql, int n,
							const SqlArg *args);
extern void requester_call(JobRun *run, const char *sql, int n, const SqlArg *args);
extern int requester_count(JobRun *run, const char *sql, int n, const SqlArg *args);
extern char *requester_text(JobRun *run, const char *sql, int n, const SqlArg *args);
extern char *requester_open_peer(JobRun *run);
extern void requester_close_peer(JobRun *run, const char *connection);

#endif /* STEEP_REQUESTER_H */
