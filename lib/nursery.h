/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * nursery.h: the first few small blocks of a process, of all sizes, side by side.
 *
 * A slab serves one class, so the first block of every class touches a page of its own.  Most processes are small: they
 * allocate a handful of blocks of a dozen classes and end.  For them the first blocks of each class come from one slot that
 * is cut in granules of 16 bytes.  A class that goes on allocating gets a slab.  Only the first heap uses it.
 *
 * Thread-safe.  Slower than a cache, and used a bounded number of times.
 */
#ifndef HKM_NURSERY_H
#define HKM_NURSERY_H

#include "registry.h"

enum { HKM_NURSERY_MAX = 4096 }; /* the largest request that it serves */

/* A block, or NULL: the class has had its share, or there is no room. */
void *hkm_nursery_alloc(size_t size, unsigned cls);
/* Usable bytes of a block; 0 when p is not the start of one. */
size_t hkm_nursery_size(const void *p);
enum hkm_nursery_freed { HKM_NURSERY_OK, HKM_NURSERY_INTERIOR, HKM_NURSERY_FREE } hkm_nursery_free(void *p);
/* Grows or shrinks in place; false: it must move. */
bool hkm_nursery_resize(void *p, size_t size);
size_t hkm_nursery_live(void);  /* bytes */
size_t hkm_nursery_purge(void); /* gives whole free pages back; bytes */

#endif
