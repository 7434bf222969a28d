/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * purge.h: gives back memory that lies idle, in all heaps, a little with each slow call of any thread.
 */
#ifndef HKM_PURGE_H
#define HKM_PURGE_H

#include "heap.h"
#include "policy.h"
#include "superslab.h"

void hkm_purge_slow(const struct hkm_heap *h); /* what follows, when there may be something to do */
bool hkm_purge_busy(void); /* a look is under way */

/* Called after each refill, flush, free in the nursery, and free or allocation of a run that took the slow way; no lock is held
 * but perhaps that of the late heap.  Of the calls that find nothing under way, a few read the clock. */
HKM_INLINE void hkm_purge_tick(const struct hkm_heap *h)
{
    if (hkm_load(&hkm_superslab_stats.mapped) > HKM_POLICY_LOOK && (hkm_load(&h->events) % 4 == 0 || hkm_purge_busy()))
        hkm_purge_slow(h);
}

#endif
