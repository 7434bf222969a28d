/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * shared_pool.c: see shared_pool.h.
 */
#include "shared_pool.h"
#include "policy.h"
#include "superslab.h"

unsigned hkm_shared_pool_wish(void)
{
    return hkm_policy_slots(hkm_policy(), hkm_load(&hkm_superslab_stats.mapped) << HKM_SLOT_SHIFT);
}

unsigned hkm_shared_pool_acquire(struct hkm_slab **out, unsigned n)
{
    /* A used slot costs no page fault, and its lines may still be in a processor's cache. */
    unsigned got = hkm_shared_pool_reuse(out, n);
    return got ? got : hkm_superslab_take(out, n, false);
}

unsigned hkm_shared_pool_reuse(struct hkm_slab **out, unsigned n) { return hkm_superslab_take(out, n, true); }

bool hkm_shared_pool_grow(void) { return hkm_superslab_grow(1); }

void hkm_shared_pool_release(struct hkm_slab *s)
{
    hkm_store(&s->owner, 0);
    hkm_superslab_give(s, 1);
}
