/*
 * engine_signals.h
 *	  Keeps a process interruptible that has loaded a JavaScript engine.
 */
#ifndef STEEP_ENGINE_SIGNALS_H
#define STEEP_ENGINE_SIGNALS_H

#include "postgres.h"

extern void engine_load(void);

#endif /* STEEP_ENGINE_SIGNALS_H */
