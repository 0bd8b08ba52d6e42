/*
 * session.h
 *	  What the JavaScript runtime needs from C.
 */
#ifndef STEEP_SESSION_H
#define STEEP_SESSION_H

extern void restore_signal_handlers(void);

#endif /* STEEP_SESSION_H */
