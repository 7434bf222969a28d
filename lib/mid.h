/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * mid.h: the upper part of the mid pool, and big blocks inside ranges: runs of slots, page-granular.
 *
 * A run takes whole slots of address space, but only its pages are ever touched; usable size is a multiple of a page.
 * Thread-safe.
 */
#ifndef HKM_MID_H
#define HKM_MID_H

#include "registry.h"

/* A thread's cache of runs up to HKM_RUN_MAX.  Its owner's alone.  The runs are linked by `next`, and marked as
 * listed, by which a second free is found out.  `bytes` never shrinks there, so it still says what may have been written. */
enum { HKM_RUN_SLOTS = 32, HKM_RUN_SLOTS_KEPT = 3 * HKM_RUN_SLOTS }; /* of a run; of all that are kept */
#define HKM_RUN_MAX ((size_t)HKM_RUN_SLOTS << HKM_SLOT_SHIFT)
struct hkm_runs {
    struct hkm_slab *run[HKM_RUN_SLOTS + 1]; /* by slots */
    size_t room, allowed;                    /* slots; room <= allowed <= HKM_RUN_SLOTS_KEPT */
};

/* Slots of the runs that it has. */
HKM_INLINE size_t hkm_mid_held(const struct hkm_runs *c) { return c->allowed - c->room; }
HKM_INLINE void hkm_mid_allow(struct hkm_runs *c, size_t more)
{
    c->allowed += more;
    c->room += more;
}

/* What `listed` says of a run. */
enum { HKM_RUN_LIVE, HKM_RUN_CACHED, HKM_RUN_IN_BIGCACHE };

/* A cached run, of enough slots, is handed out again. */
HKM_INLINE void *hkm_mid_wake(struct hkm_slab *s, size_t size, const void *site)
{
    s->listed = HKM_RUN_LIVE;
    if (unlikely(s->bytes < size))
        s->bytes = hkm_round_up(size, hkm_os.page);
    s->site = site;
    return s->start;
}

/* size: above 0, at most HKM_RUN_MAX.  NULL: there is none of that length. */
HKM_INLINE void *hkm_mid_pop(struct hkm_runs *c, size_t size, const void *site)
{
    size_t slots = (size + HKM_SLOT_SIZE - 1) >> HKM_SLOT_SHIFT;
    struct hkm_slab *s = c->run[slots];
    if (unlikely(!s))
        return NULL;
    c->run[slots] = s->next;
    c->room += slots;
    s->again++;
    void *p = hkm_mid_wake(s, size, site);
    if (!p)
        __builtin_unreachable(); /* so that the caller's test is the one above */
    return p;
}

/* False: there is no room for it, or it is longer than any that is kept. */
HKM_INLINE bool hkm_mid_push(struct hkm_runs *c, struct hkm_slab *s)
{
    size_t slots = s->run, room;
    if (unlikely(slots > HKM_RUN_SLOTS))
        return false;
    if (unlikely(__builtin_sub_overflow(c->room, slots, &room)))
        return false;
    hkm_assert(room < c->allowed && c->allowed <= HKM_RUN_SLOTS_KEPT);
    c->room = room;
    s->listed = HKM_RUN_CACHED;
    s->next = c->run[slots];
    c->run[slots] = s;
    return true;
}

/* Gives back those of fewer slots than `below`; HKM_RUN_SLOTS + 1: all.  Slots. */
size_t hkm_mid_drain(struct hkm_runs *c, size_t below);

/* zero: the caller wants it cleared.  alignment: 2^k.  NULL: no memory. */
void *hkm_mid_alloc(size_t size, size_t alignment, bool zero, const void *site);
void hkm_mid_free(struct hkm_slab *s);
void hkm_mid_left(struct hkm_slab *s); /* the run was freed, and no run cache has it: its site is told */
/* Grows or shrinks in place; false: it must move. */
bool hkm_mid_resize(struct hkm_slab *s, size_t size);

size_t hkm_mid_bytes(void); /* usable bytes of all runs that are out, at about this moment */

#endif
