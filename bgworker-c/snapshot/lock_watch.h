/*
 * lock_watch.h
 *	  Who stands in the way of reading a table.
 */
#ifndef STEEP_LOCK_WATCH_H
#define STEEP_LOCK_WATCH_H

extern char *lock_watch_blockers(Oid relid);
extern char *lock_watch_describe(const char *application_name);

#endif /* STEEP_LOCK_WATCH_H */
