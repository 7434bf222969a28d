/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * bigcache.h: the BigCache: freed blocks of HKM_BIGCACHE_LEAST bytes and more, runs and mappings of their own, by size class
 * and by the call site that asked for them.
 *
 * Kept is what a site frees that asked for this size twice in a row: it will ask again.  A block of the same site is
 * preferred, any other that fits is as good as a new one.  What is kept is bounded by bytes and as a share of the heap, and
 * aged.  Thread-safe, and without locks but for the table of big blocks.
 */
#ifndef HKM_BIGCACHE_H
#define HKM_BIGCACHE_H

#include "registry.h"

#define HKM_BIGCACHE_LEAST ((size_t)1 << 20)

/* A block of at least `size` bytes, aligned to a page, with what was in it; NULL: there is none. */
void *hkm_bigcache_take(size_t size, const void *site);

/* Somebody asks for so many bytes; hkm_bigcache_take says so by itself. */
void hkm_bigcache_note(size_t size, const void *site);

/* The block is freed: true when it is kept.  False: the caller is to give it back. */
bool hkm_bigcache_put_run(struct hkm_slab *s);
/* The same for a big block; it is given back if it is not kept.  False: it is none, or was freed before. */
bool hkm_bigcache_free_big(void *p);

/* There was no block for so many bytes: gives all back that would come to be new memory's place, so that kept memory is used
 * before fresh. */
void hkm_bigcache_make_way(size_t size);
/* Gives back what has been idle for a while, if more is than should be. */
void hkm_bigcache_age(void);
size_t hkm_bigcache_release(void); /* all of it; bytes */

size_t hkm_bigcache_bytes(void);
size_t hkm_bigcache_hits(void);
void hkm_bigcache_recount(void); /* in the child of a fork, which may have caught somebody between a block and the sum */

#endif
