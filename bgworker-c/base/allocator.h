/*
 * allocator.h
 *	  What malloc() does with memory that is freed.
 */
#ifndef STEEP_ALLOCATOR_H
#define STEEP_ALLOCATOR_H

extern void allocator_keep_memory(void);

#endif /* STEEP_ALLOCATOR_H */
