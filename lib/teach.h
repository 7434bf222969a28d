/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * teach.h: tells the learner what an epoch of this process has cost, and puts in force what it says.
 *
 * One thread at a time does that, in one of its slow calls; nobody waits.  Costs are read from counters that there are anyway,
 * at prices: no call is timed.  No system call but for the prices of a page, once.
 */
#ifndef HKM_TEACH_H
#define HKM_TEACH_H

#include "heap.h"
#include "learn.h"
#include "option.h"

/* A slow call may be due: now in ms.  No lock is held but perhaps that of the late heap. */
void hkm_teach_epoch(size_t now);
extern hkm_word hkm_teach_next HKM_HIDDEN; /* ms: not before; never far ahead, and 0 at first, whatever the clock says */
HKM_INLINE bool hkm_teach_is_due(size_t now) { return hkm_load(&hkm_teach_next) - now - 1 >= (size_t)1 << 22; }
HKM_INLINE void hkm_teach_tick(size_t now)
{
    if (HKM_LEARNING && hkm_teach_is_due(now))
        hkm_teach_epoch(now);
}

/* What the learner has come to, for reports; a moment's, without a lock. */
const struct hkm_learn *hkm_teach_state(void);

#endif
