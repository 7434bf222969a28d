/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * purge.c: see purge.h.
 *
 * Now and then one of the slow calls finds that time has passed, adds up what is free inside the slabs of all heaps, and asks
 * policy.c.  If it says so, a look begins: it goes through all slots in the order of their addresses, and gives whole free
 * pages back, neighbours by one call, also over the slabs' borders.  Each slow call of any thread does a piece of it.
 *
 * One thread at a time is enough: `busy` guards all variables here, and others pass by.  A slab is looked at under the lock of
 * its heap, which is only tried for: a heap that is in use is passed by, and another look comes.
 *
 * After a fork: `busy` of another process counts as clear.  The place that a look has come to may then be of two moments, and
 * is only believed as far as there is such a slot.
 */
#define HKM_SMALL
#include "purge.h"
#include "bigcache.h"
#include "os.h"
#include "teach.h"

static hkm_word checked; /* ms: when policy was asked last */
static hkm_word mode;    /* enum hkm_look: the look that is under way */

static struct HKM_OWN_LINES {
    hkm_word busy;           /* generation + 1 of the process that a thread is at it in; 0 */
    struct hkm_range *range; /* the slot to look at next */
    size_t slot;
    size_t young;            /* bytes that were too young, so far */
    size_t given;            /* bytes given back, so far */
    size_t worked;           /* ms: when a piece was done last */
    size_t settled;          /* bytes free in slabs that no look needs to be made for: seen, and with blocks in use between */
    size_t ended;            /* ms: when the last one had come to its end */
    /* The last look for all: what it gave back, what was in use then, and when; and until when there is none again. */
    size_t all_given, all_used, all_at, none_until;
} look;

bool hkm_purge_busy(void) { return hkm_load(&mode) != HKM_LOOK_NOT || hkm_superslab_purging(); }

static bool enter(void)
{
    size_t mine = hkm_generation() + 1, was = hkm_load(&look.busy);
    return was != mine && hkm_cas(&look.busy, was, mine);
}

static void leave(void) { hkm_store_rel(&look.busy, 0); }

static size_t free_in_slabs(void)
{
    size_t sum = 0;
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        sum += hkm_load(&h->free);
    return sum > SIZE_MAX / 2 ? 0 : sum; /* a slab was just changing hands */
}

static size_t used_beside(size_t idle)
{
    size_t taken = hkm_load(&hkm_superslab_stats.taken) << HKM_SLOT_SHIFT;
    return taken > idle ? taken - idle : 0;
}

/* A run of pages to purge, and the heap whose lock is held as long as there is one. */
struct gather {
    struct hkm_heap *held;
    struct hkm_slab *first;
    unsigned page;
    size_t pages;
    bool called; /* since the lock was taken */
    unsigned calls;
};

static void flush(struct gather *g)
{
    if (!g->pages)
        return;
    look.given += hkm_superslab_purge_pages(g->first, g->page, g->pages);
    g->pages = 0;
    g->called = true;
    g->calls++;
}

static void release(struct gather *g)
{
    flush(g);
    if (g->held)
        hkm_heap_leave(g->held);
    g->held = NULL;
}

static void add_pages(struct gather *g, struct hkm_slab *s, uint16_t pages)
{
    while (pages) {
        unsigned first = hkm_low_bit(pages), n = hkm_low_bit(~((size_t)pages >> first));
        const char *at = s->start + ((size_t)first << hkm_os.page_bits);
        if (g->pages && g->first->start + ((g->page + g->pages) << hkm_os.page_bits) != at)
            flush(g);
        if (!g->pages) {
            g->first = s;
            g->page = first;
        }
        g->pages += n;
        pages &= (uint16_t)~hkm_pages(first, n);
    }
}

static void look_at(struct gather *g, struct hkm_slab *s, size_t age)
{
    struct hkm_heap *h = (struct hkm_heap *)hkm_load_acq(&s->owner);
    uint16_t young;
    if (g->held != h || g->called) { /* its owner may be waiting for the lock since the last system call */
        release(g);
        g->held = h && hkm_heap_try(h) ? h : NULL;
        g->called = false;
    }
    if (!g->held || hkm_load(&s->owner) != (size_t)h)
        return;
    add_pages(g, s, hkm_heap_look(h, s, age, &young));
    look.young += (size_t)hkm_popcount(young) << hkm_os.page_bits;
}

static void end_look(size_t now)
{
    size_t idle = free_in_slabs();
    if (hkm_load(&mode) == HKM_LOOK_ALL) {
        look.all_given = look.given;
        look.all_used = used_beside(idle);
        look.all_at = now;
    }
    look.settled = idle > look.young ? idle - look.young : 0;
    look.ended = now;
    hkm_store(&mode, HKM_LOOK_NOT);
}

/* Some pieces of the look. */
static void go_on(size_t now, unsigned pieces)
{
    struct gather g = { 0 };
    bool all = hkm_load(&mode) == HKM_LOOK_ALL;
    size_t age = all ? 0 : hkm_policy_purge_ms(hkm_policy());
    unsigned slots = pieces * HKM_POLICY_LOOK_SLOTS, slabs = pieces * HKM_POLICY_LOOK_SLABS;
    unsigned calls = pieces * (all ? HKM_POLICY_LOOK_ALL_CALLS : HKM_POLICY_LOOK_CALLS);
    while (slots && slabs && g.calls < calls) {
        struct hkm_range *r = look.range;
        if (look.slot >= hkm_load_acq(&r->used)) {
            r = hkm_range_next(r);
            if (!r) {
                release(&g);
                end_look(now);
                return;
            }
            look.range = r;
            look.slot = 0;
            continue;
        }
        size_t slot = look.slot++;
        slots--;
        if (hkm_tag_at(r, slot)->kind != HKM_KIND_SLAB)
            continue;
        slabs--;
        look_at(&g, hkm_slab_at(r, slot), age);
    }
    release(&g);
}

/* Asks whether there is reason for a look. */
static void check(size_t now)
{
    const struct hkm_policy *policy = hkm_policy();
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        hkm_heap_tend(h);
    size_t idle = free_in_slabs(), used = used_beside(idle), ms = hkm_policy_purge_ms(policy);
    hkm_superslab_keep(idle);
    hkm_bigcache_age();
    if (idle < look.settled)
        look.settled = idle;
    if (look.all_given && used >= look.all_used + look.all_given / 2) {
        if (now - look.all_at < HKM_POLICY_VAIN * ms)
            look.none_until = now + HKM_POLICY_VAIN_WAIT * ms;
        look.all_given = 0;
    }
    enum hkm_look want = hkm_policy_look(policy, used, idle, idle - look.settled, now - look.ended);
    if (want == HKM_LOOK_ALL && look.none_until - now <= HKM_POLICY_VAIN_WAIT * ms)
        want = now - look.ended >= ms ? HKM_LOOK_IDLE : HKM_LOOK_NOT;
    if (want == HKM_LOOK_NOT)
        return;
    look.range = &hkm_range;
    look.slot = look.young = look.given = 0;
    hkm_store_rel(&mode, want); /* last: a fork's child believes it */
}

void hkm_purge_slow(const struct hkm_heap *h)
{
    const struct hkm_policy *policy = hkm_policy();
    size_t now = hkm_os_ms(), each = hkm_policy_purge_ms(policy) / 4;
    if (hkm_load(&hkm_slab_clock) != now)
        hkm_store(&hkm_slab_clock, now);
    hkm_teach_tick(now);
    /* In time, or as soon as much has become free. */
    if (!hkm_purge_busy() && now - hkm_load(&checked) < each + !each &&
        (ptrdiff_t)(hkm_load(&h->free) - hkm_load(&h->seen_free)) < HKM_POLICY_LOOK_SOON)
        return;
    if (!enter())
        return;
    if (!hkm_purge_busy()) {
        hkm_store(&checked, now);
        check(now);
    }
    if (hkm_policy_dirty_limit(policy, 0) == SIZE_MAX)
        hkm_store(&mode, HKM_LOOK_NOT); /* switched off in the meantime */
    if (hkm_purge_busy()) {
        unsigned pieces = hkm_policy_pieces(now - look.worked);
        look.worked = now;
        if (hkm_superslab_purging())
            hkm_superslab_purge_piece(pieces);
        if (hkm_load(&mode) != HKM_LOOK_NOT)
            go_on(now, pieces);
    }
    leave();
}
