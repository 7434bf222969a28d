/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * teach.h: tells the learner what an epoch of this process has cost, and puts in force what it says.
 *
 * One thread at a time does that, in one of its slow calls; nobody waits.  Costs are read from counters that there are anyway;
 * of the slow calls themselves one in HKM_TEACH_SAMPLE is timed.  No system call but for the prices of a page, once.
 */
#ifndef HKM_TEACH_H
#define HKM_TEACH_H

#include "heap.h"
#include "learn.h"
#include "option.h"

enum { HKM_TEACH_SAMPLE = 64 };

/* A slow call may be due: now in ms.  No lock is held but perhaps that of the late heap. */
void hkm_teach_epoch(size_t now);
extern hkm_word hkm_teach_next HKM_HIDDEN; /* ms: not before */
HKM_INLINE void hkm_teach_tick(size_t now)
{
    if (HKM_LEARNING && (ptrdiff_t)(now - hkm_load(&hkm_teach_next)) >= 0)
        hkm_teach_epoch(now);
}

/* Around the slow calls of a thread: 0, or when this one began. */
HKM_INLINE size_t hkm_teach_begin(const struct hkm_heap *h)
{
    bool timed = HKM_LEARNING && unlikely(hkm_load(&h->events) % HKM_TEACH_SAMPLE == 0);
    return timed && !hkm_load(&hkm_option.disable_learning) ? hkm_os_ns() | 1 : 0;
}
void hkm_teach_end(struct hkm_heap *h, size_t began);

/* What the learner has come to, for reports; a moment's, without a lock. */
const struct hkm_learn *hkm_teach_state(void);

#endif
