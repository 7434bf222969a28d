/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * nursery.h: the first few small blocks of a process, of all sizes, side by side.
 *
 * A slab serves one class, so the first block of every class touches a page of its own.  Most processes are small: they
 * allocate a handful of blocks of a dozen classes and end.  For them the first blocks of each class come from four slots that
 * are cut in granules of 16 bytes.  A class that goes on allocating gets a slab.  Only the first heap uses it, but where memory is
 * out: then what room it has is for all.
 *
 * Thread-safe.  Slower than a cache, and used a bounded number of times.
 */
#ifndef HKM_NURSERY_H
#define HKM_NURSERY_H

#include "registry.h"

enum { HKM_NURSERY_MAX = HKM_MID_MAX }; /* the largest request that it serves */

/* A block, or NULL: the class has had its share, which does not matter to who is in need, or there is no room. */
void *hkm_nursery_alloc(size_t size, unsigned cls, bool need);
enum hkm_nursery_state { HKM_NURSERY_BLOCK, HKM_NURSERY_INTERIOR, HKM_NURSERY_FREE };
/* What p is, and of a block its usable bytes. */
enum hkm_nursery_state hkm_nursery_look(const void *p, size_t *bytes);
/* The same, and a block is freed. */
enum hkm_nursery_state hkm_nursery_free(void *p);
/* Grows or shrinks in place; false: it must move. */
bool hkm_nursery_resize(void *p, size_t size);
size_t hkm_nursery_live(void);  /* bytes */
size_t hkm_nursery_blocks(void);
size_t hkm_nursery_purge(void); /* gives whole free pages back; bytes */

#endif
