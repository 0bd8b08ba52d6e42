/*
 * replicated_change.h
 *	  Changes of our tables that come from another node.
 */
#ifndef STEEP_REPLICATED_CHANGE_H
#define STEEP_REPLICATED_CHANGE_H

#include "postgres.h"

extern bool is_replicated_change(Oid table);

#endif /* STEEP_REPLICATED_CHANGE_H */
