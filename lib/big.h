/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * big.h: blocks with mappings of their own: very large ones, and those of very large alignment.
 *
 * They are known by their address in a table of our own; nothing stands beside the block.  Thread-safe.
 */
#ifndef HKM_BIG_H
#define HKM_BIG_H

#include "base.h"
#include "atomic.h"

/* The table, big.c's own; here for live.c, which tells where things are in it. */
struct hkm_big_entry {
    hkm_word start; /* address of the block; 0: none.  Stored after `bytes`, by release, for the child of a fork */
    hkm_word bytes; /* a multiple of the page, plus HKM_BIG_IDLE while the block is free and kept by bigcache.c, plus
                     * HKM_BIG_HUGE if the kernel was asked for huge pages for it */
    hkm_word site;  /* who asked for it */
    hkm_word born;  /* see site.h */
};
enum { HKM_BIG_IDLE = 1, HKM_BIG_HUGE = 2 };
struct hkm_big_table {
    size_t places, count;
    struct hkm_big_entry at[];
};

/* site: who asks, for bigcache.c. */
void *hkm_big_alloc(size_t size, size_t alignment, const void *site); /* zeroed; NULL: no memory */
size_t hkm_big_size(const void *p);                  /* usable bytes; 0: not a big block */
bool hkm_big_free(void *p);                          /* false: not a big block */
void *hkm_big_resize(void *p, size_t size);          /* NULL: p is as before; contents move without being copied */

/* A block may be idle: freed, but kept as it is. */
size_t hkm_big_idle(const void *p, const void **site); /* its bytes, and who asked for it; 0: not a block, or idle already */
void hkm_big_wake(const void *p, const void *site);
size_t hkm_big_capacity(const void *p); /* bytes of an idle block */
void hkm_big_drop(void *p);             /* gives an idle block back */

size_t hkm_big_bytes(void);  /* of all blocks, but the idle ones */
size_t hkm_big_mapped(void); /* of all */
size_t hkm_big_huge(void);   /* of all for which huge pages were asked for */
size_t hkm_big_count(void);
/* The big block that an address lies in, or NULL. */
void *hkm_big_around(const void *p);
/* p is an idle block, or one of those that were freed last and nothing is there since. */
bool hkm_big_was(const void *p);

#endif
