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

void hkm_purge_slow(const struct hkm_heap *h); /* a bit of what there is to do */
bool hkm_purge_busy(void); /* a look is under way */

/* Whether hkm_purge_slow is to be called.  Asked after each refill, flush, free in the nursery, and free or allocation of a run
 * that took the slow way; no lock is held but perhaps that of the late heap.  Where nothing is under way, few of them are due. */
HKM_INLINE bool hkm_purge_is_due(const struct hkm_heap *h)
{
    return hkm_load(&hkm_superslab_stats.mapped) > HKM_POLICY_LOOK && (hkm_load(&h->events) % 4 == 0 || hkm_purge_busy());
}

#endif
