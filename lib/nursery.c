/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * nursery.c: see nursery.h.
 *
 * Two bitmaps over the granules of some neighbouring slots, word by word: `used`, and `start` of each block.  A block ends where a granule is unused or
 * starts another block.  Every change keeps a fork's child safe, which takes over the lock that a thread held in the middle of one:
 * `top` is raised and the pages are soiled before the used bits are set, these before the start bit, and cleared after it; whatever
 * only saves a search is forgotten.  So a lock left behind costs at most one block's granules: nobody's, or at the end of another's.
 */
#define HKM_SMALL
#include "nursery.h"
#include "lock.h"
#include "meta.h"
#include "os.h"
#include "policy.h"
#include "superslab.h"

enum { SLOTS = 4, GRANULE = 16, IN_SLOT = HKM_SLOT_SIZE / GRANULE, GRANULES = SLOTS * IN_SLOT,
       BITS = 8 * sizeof(size_t), WORDS = GRANULES / BITS, WIDE = HKM_POLICY_NURSERY_LARGE / GRANULE,
       LOOK = 4 * BITS /* holes are measured so far; at least WIDE */ };

static struct HKM_OWN_LINES { struct hkm_lock lock; } nursery = { HKM_LOCK_INIT(HKM_RANK_NURSERY) };
static struct hkm_slab *slot; /* the first one; under lock, like all below; NULL until first used */
static bool closed;           /* no memory for it, once and for all */
static unsigned low;          /* no granule below it is free */
static unsigned hole;         /* so many granules from low on are free; 0: look */
static unsigned wide;         /* no hole of WIDE granules begins below it */
static unsigned top;          /* no granule from here on was ever used */
static unsigned soiled;       /* no page below it is known to be zero; it begins a page */
static struct {
    uint16_t taken; /* blocks so far; UINT16_MAX: there is no room for more */
    uint16_t live;  /* and now; a block that is resized changes its class */
} count[HKM_CLASSES];
static struct word {
    size_t used, start;
} *map; /* under lock; NULL until first used, then const.  Its low end is touched first, and has other things beside it */
HKM_SHOWN(map, hkm_nursery_map);

static struct hkm_slab *slot_of(unsigned granule) { return hkm_slab_after(slot, granule / IN_SLOT); }

static HKM_NOINLINE void soil_pages(unsigned from, unsigned to)
{
    unsigned in_page = (unsigned)(hkm_os.page / GRANULE);
    for (unsigned g = from; g < to;) {
        unsigned end = (g / IN_SLOT + 1) * IN_SLOT, stop = to < end ? to : end;
        slot_of(g)->zero &= (uint16_t)~hkm_pages_of((size_t)(g % IN_SLOT) * GRANULE,
                                                    (size_t)((stop - 1) % IN_SLOT + 1) * GRANULE);
        g = stop;
    }
    if (from <= soiled)
        soiled = (to + in_page - 1) / in_page * in_page;
}
/* The pages of these granules are not known to be zero any more. */
HKM_INLINE void soil(unsigned from, unsigned to)
{
    if (unlikely(to > soiled))
        soil_pages(from, to);
}

HKM_INLINE void set_used(unsigned from, unsigned to, bool on)
{
    do {
        unsigned bit = from % BITS, n = to - from;
        if (unlikely(n > BITS - bit))
            n = BITS - bit;
        size_t first = (size_t)1 << bit, mask = (first << (n - 1)) * 2 - first, *used = &map[from / BITS].used;
        *used = on ? *used | mask : *used & ~mask;
        from += n;
    } while (unlikely(from < to));
}

/* First granule from g on that is used, or GRANULES when none below `end` is. */
static unsigned seek_used(unsigned g, unsigned end)
{
    for (end = end < top ? end : top; g < end; g = (g / BITS + 1) * BITS) {
        size_t w = map[g / BITS].used >> g % BITS;
        if (w)
            return g + hkm_low_bit(w);
    }
    return GRANULES;
}
static unsigned seek_unused(unsigned g)
{
    for (; g < top; g = (g / BITS + 1) * BITS) {
        size_t w = ~map[g / BITS].used >> g % BITS;
        if (w)
            return g + hkm_low_bit(w);
    }
    return g < GRANULES ? g : GRANULES;
}

static unsigned end_of(unsigned g)
{
    for (g++; g < GRANULES; g = (g / BITS + 1) * BITS) {
        size_t stop = (map[g / BITS].start | ~map[g / BITS].used) >> g % BITS;
        if (stop)
            return g + hkm_low_bit(stop);
    }
    return GRANULES;
}

static bool open_slot(void)
{
    if (closed)
        return false;
    if (!map)
        map = hkm_meta_alloc(WORDS * sizeof *map, sizeof *map);
    slot = map ? hkm_superslab_run(SLOTS, 1) : NULL;
    closed = !slot;
    for (unsigned i = 0; slot && i < SLOTS; i++)
        hkm_tag_set(slot->range, hkm_slab_slot(slot) + i, &hkm_tag_nursery);
    return !closed;
}

/* g is free from now on, and may have made a narrow hole below it a wide one. */
static void opened(unsigned g)
{
    unsigned begin = g < WIDE ? 0 : g - WIDE + 1;
    if (g < low) {
        low = g;
        hole = 0;
    }
    wide = begin < wide ? begin : wide;
}

static void measure_hole(void)
{
    low = seek_unused(low);
    unsigned far = low + LOOK < GRANULES ? low + LOOK : GRANULES, stop = seek_used(low, far);
    hole = (stop < far ? stop : far) - low;
}

/* The first hole of n granules from *from on.  That becomes the first one of `least`, where the next search begins. */
static unsigned seek_hole(unsigned *from, unsigned n, unsigned least)
{
    unsigned g = seek_unused(*from), stop;
    for (bool first = true; g < GRANULES; g = seek_unused(stop)) {
        stop = seek_used(g, g + n);
        if (first && stop - g >= least) {
            *from = g;
            first = false;
        }
        if (stop - g >= n)
            return g;
    }
    return GRANULES;
}

/* Room for n granules.  A wide block takes the first hole that is large enough, so that the pages of others before it are
 * used again.  The narrow ones are many: the lowest hole, or else room behind all blocks, and only then a search. */
static unsigned find(unsigned n)
{
    if (likely(n < WIDE)) {
        if (unlikely(n > hole) && (!hole || low + hole >= top))
            measure_hole();
        if (likely(n <= hole)) {
            hole -= n;
            low += n;
            return low - n;
        }
        if (top + n <= GRANULES)
            return top;
    }
    hole = 0; /* this may be in it */
    return n < WIDE ? seek_hole(&low, n, 1) : seek_hole(&wide, n, WIDE);
}

static void enter(void)
{
    if (unlikely(hkm_lock(&nursery.lock))) /* left behind by a fork */
        low = hole = wide = soiled = 0;
}

/* These granules get a block, or more of one. */
HKM_INLINE void occupy(unsigned from, unsigned to)
{
    if (to > top)
        top = to;
    soil(from, to);
    hkm_in_order();
    set_used(from, to, true);
    hkm_in_order();
}

void *hkm_nursery_alloc(size_t size, unsigned cls, bool need)
{
    void *p = NULL;
    unsigned n = (unsigned)((size + GRANULE - !!size) / GRANULE); /* at least one */
    enter();
    if ((need || hkm_policy_nursery(hkm_policy(), hkm_class[cls].size, count[cls].taken, count[cls].live)) &&
        (slot || open_slot())) {
        unsigned g = find(n);
        hkm_assert(g == GRANULES || seek_used(g, g + n) >= g + n);
        if (g < GRANULES) {
            occupy(g, g + n);
            map[g / BITS].start |= (size_t)1 << g % BITS;
            count[cls].taken += !need; /* the policy has an end long before UINT16_MAX */
            count[cls].live++;
            p = slot->start + (size_t)g * GRANULE;
        } else {
            count[cls].taken = UINT16_MAX;
        }
    }
    hkm_unlock(&nursery.lock);
    return p;
}

static unsigned class_of(unsigned g, unsigned end) { return hkm_class_of((size_t)(end - g) * GRANULE); }

static unsigned granule(const void *p) { return (unsigned)((size_t)((const char *)p - slot->start) / GRANULE); }

static enum hkm_nursery_state state(const void *p, unsigned g)
{
    if (!(map[g / BITS].used >> g % BITS & 1))
        return HKM_NURSERY_FREE;
    return (uintptr_t)p % GRANULE || !(map[g / BITS].start >> g % BITS & 1) ? HKM_NURSERY_INTERIOR : HKM_NURSERY_BLOCK;
}

enum hkm_nursery_state hkm_nursery_look(const void *p, size_t *bytes)
{
    enter();
    unsigned g = granule(p);
    enum hkm_nursery_state is = state(p, g);
    *bytes = is == HKM_NURSERY_BLOCK ? (size_t)(end_of(g) - g) * GRANULE : 0;
    hkm_unlock(&nursery.lock);
    return is;
}

enum hkm_nursery_state hkm_nursery_free(void *p)
{
    enter();
    unsigned g = granule(p);
    enum hkm_nursery_state was = state(p, g);
    if (was == HKM_NURSERY_BLOCK) {
        unsigned end = end_of(g);
        map[g / BITS].start &= ~((size_t)1 << g % BITS);
        hkm_in_order();
        set_used(g, end, false);
        opened(g);
        count[class_of(g, end)].live--;
    }
    hkm_unlock(&nursery.lock);
    return was;
}

bool hkm_nursery_resize(void *p, size_t size)
{
    unsigned n = (unsigned)((size + GRANULE - 1) / GRANULE);
    enter();
    unsigned g = granule(p), end = end_of(g);
    bool ok = size <= HKM_NURSERY_MAX && g + n <= GRANULES && (g + n <= end || seek_used(end, g + n) >= g + n);
    if (ok) {
        count[class_of(g, end)].live--;
        count[class_of(g, g + n)].live++;
    }
    if (ok && g + n > end) {
        hole = 0;
        occupy(end, g + n);
    }
    if (ok && g + n < end) {
        set_used(g + n, end, false);
        opened(g + n);
    }
    hkm_unlock(&nursery.lock);
    return ok;
}

size_t hkm_nursery_live(void)
{
    const struct word *words = hkm_peek(map);
    size_t n = 0;
    for (unsigned w = 0; words && w < WORDS; w++)
        n += hkm_popcount(hkm_peek(words[w].used));
    return n * GRANULE;
}

size_t hkm_nursery_blocks(void)
{
    const struct word *words = hkm_peek(map);
    size_t n = 0;
    for (unsigned w = 0; words && w < WORDS; w++)
        n += hkm_popcount(hkm_peek(words[w].start));
    return n;
}

size_t hkm_nursery_purge(void)
{
    hkm_os_init(); /* this may be the very first call */
    size_t done = 0, page = hkm_os.page;
    unsigned pages = (unsigned)(HKM_SLOT_SIZE / page), run = 0;
    enter();
    for (unsigned first = 0; slot && first < GRANULES; first += IN_SLOT) {
        struct hkm_slab *s = slot_of(first);
        for (unsigned p = 0; p <= pages; p++) {
            unsigned from = first + (unsigned)(p * page / GRANULE), to = from + (unsigned)(page / GRANULE);
            if (p < pages && !(s->zero >> p & 1) && seek_used(from, to) >= to) {
                run++;
            } else if (run) {
                done += hkm_superslab_purge_pages(s, p - run, run);
                soiled = from - run * (to - from) < soiled ? from - run * (to - from) : soiled;
                run = 0;
            }
        }
    }
    hkm_unlock(&nursery.lock);
    return done;
}
