/*
 * jsonb_children.h
 *	  What a jsonb container holds, where it is stored.
 *
 * An object is stored as all its keys, and then all values.
 */
#ifndef STEEP_JSONB_CHILDREN_H
#define STEEP_JSONB_CHILDREN_H

#include "postgres.h"

#include "utils/jsonb.h"

/* Each child is found from the end of the one before it. */
typedef struct JsonbChildren
{
	const JEntry *entries;
	char *data;
	uint32 offset; /* of the next one's data */
} JsonbChildren;

typedef struct JsonbChild
{
	JEntry entry;
	char *data; /* of a string, with its length */
	uint32 len;
	char *aligned; /* of a numeric or a container */
} JsonbChild;

/* From the nth child on; a container has so many children, an object two for each key. */
static inline JsonbChildren
jsonb_children(JsonbContainer *container, uint32 nth, uint32 n_children)
{
	return (JsonbChildren){container->children + nth, (char *) &container->children[n_children],
						   nth == 0 || nth == n_children ? 0 : getJsonbOffset(container, nth)};
}

static inline JsonbChild
jsonb_next_child(JsonbChildren *children)
{
	JsonbChild child = {.entry = *children->entries++, .data = children->data + children->offset};
	uint32 begin = children->offset;

	child.aligned = children->data + INTALIGN(begin);
	JBE_ADVANCE_OFFSET(children->offset, child.entry);
	child.len = children->offset - begin;
	return child;
}

#endif /* STEEP_JSONB_CHILDREN_H */
