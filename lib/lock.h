/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * lock.h: small locks that survive fork.
 *
 * HAKMEM holds no lock across fork, so a child may find a lock that another thread of its parent held and that nobody
 * will release.  A lock word therefore carries the generation of the process that took it: the parent's generation in a
 * child means "abandoned", and hkm_lock takes it over and says so, for the caller to mend what the lock guards.
 *
 * While the process has one thread, a lock is taken and given up by plain stores.  That thread cannot start another in the
 * meantime (a thread made by a bare clone does not count: no libc serves such threads); and a lock that is not free then was left by a fork, which the long way finds out.
 *
 * Ranks: a thread takes locks in ascending rank only (checked in debug builds).
 */
#ifndef HKM_LOCK_H
#define HKM_LOCK_H

#include "base.h"
#include "atomic.h"
#include "os.h"

enum hkm_rank {
    HKM_RANK_OPTION = 1, /* option.c: the environment is read once */
    HKM_RANK_LATE,       /* thread.c: cache side of the late heap */
    HKM_RANK_THREADS,    /* thread.c: list of heaps, parked heaps */
    HKM_RANK_HEAP,       /* heap.c: slab side of one heap */
    HKM_RANK_INBOX,      /* heap.c: inboxes are made the child's own, once after a fork */
    HKM_RANK_NURSERY,    /* nursery.c */
    HKM_RANK_POOL,       /* superslab.c: growth, and runs of slots */
    HKM_RANK_BIG,        /* big.c: table of big blocks */
    HKM_RANK_META,       /* meta.c */
    HKM_RANK_POLICY,     /* policy.c: the one who publishes */
};

struct hkm_lock {
    hkm_word word; /* generation << 2 | state */
    uint8_t rank;  /* const; 0 but in debug builds, so that a lock at rest is zero and needs no room in the file */
};
#define HKM_LOCK_INIT(r) { 0, HKM_DEBUG ? (r) : 0 }

bool hkm_lock_shared(struct hkm_lock *l); /* the long ways of the two below */
void hkm_unlock_shared(struct hkm_lock *l);
enum { HKM_LOCK_ALONE = 1 }; /* what the word is while the only thread holds it: held, in any generation */

/* true: taken over from a thread that a fork left behind. */
HKM_INLINE bool hkm_lock(struct hkm_lock *l)
{
    if (!HKM_DEBUG && likely(hkm_os_single_threaded()) && likely(!hkm_load(&l->word))) {
        hkm_store(&l->word, HKM_LOCK_ALONE);
        return false;
    }
    return hkm_lock_shared(l);
}

HKM_INLINE void hkm_unlock(struct hkm_lock *l)
{
    if (!HKM_DEBUG && likely(hkm_os_single_threaded()))
        hkm_store_rel(&l->word, 0);
    else
        hkm_unlock_shared(l);
}
bool hkm_lock_try(struct hkm_lock *l); /* true: taken; never takes over */
/* Held by a thread that a fork left behind: hkm_lock_try will fail until somebody takes it over by hkm_lock. */
bool hkm_lock_abandoned(const struct hkm_lock *l);

/* The generation: 0 at first, one more in every child whose parent had several threads. */
size_t hkm_generation(void);
bool hkm_generation_has_page(void); /* a page was mapped for it */
void hkm_generation_watch(void); /* from now on forks are noticed; hkm_lock calls it once there is a second thread */

#endif
