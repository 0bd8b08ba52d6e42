/*
 * launcher.h
 *	  The one static worker.
 */
#ifndef STEEP_LAUNCHER_H
#define STEEP_LAUNCHER_H

extern void launcher_register(void);

#endif /* STEEP_LAUNCHER_H */
