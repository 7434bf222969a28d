/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * shared_pool.h: the Shared Pool: single slots between threads.
 *
 * Acquire and release are lock-free; a lock is taken only to map more.
 */
#ifndef HKM_SHARED_POOL_H
#define HKM_SHARED_POOL_H

#include "registry.h"

/* Takes 1..n slots: used ones first, then untouched ones.  0: there are none, and hkm_shared_pool_grow may help. */
unsigned hkm_shared_pool_acquire(struct hkm_slab **out, unsigned n);
unsigned hkm_shared_pool_reuse(struct hkm_slab **out, unsigned n); /* the same of used ones alone */
unsigned hkm_shared_pool_wish(void); /* how many to ask for at once */
bool hkm_shared_pool_grow(void);     /* false: no memory */
void hkm_shared_pool_release(struct hkm_slab *s);

#endif
