/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * teach.c: see teach.h.
 *
 * `busy` guards all variables here, as in purge.c: of another process (a fork's child) it counts as clear.  The child of a fork
 * begins afresh, with the policy that is in force until its own second is over.
 *
 * How many pages are faulted in is not asked of the kernel, as programs may forbid themselves to ask: it is counted in pages that
 * were handed out without memory behind them, as if all of them were used.
 */
#define HKM_SMALL
#include "teach.h"
#include "big.h"
#include "bigcache.h"
#include "os.h"
#include "superslab.h"

hkm_word hkm_teach_next;
static hkm_word busy;

struct totals {
    uint64_t events, slots, faults, populated, purged, returned, reused, misses, denied;
};

struct hkm_class_room {
    struct hkm_learn learn;      /* first: live.def shows what it begins with */
    struct hkm_learn_price price;
    struct hkm_policy base;      /* what the options said when learning began */
    struct totals last;
    size_t gone;                 /* pages of slabs without memory, at most */
    size_t generation, since;    /* of the process that learns, plus 1; ms: when the epoch began */
} hkm_teach_room HKM_USED HKM_BEHIND;

const struct hkm_learn *hkm_teach_state(void) { return &hkm_teach_room.learn; }

/* ---- what a page costs ------------------------------------------------------------------------------------------ */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Measured twice, of which the lesser counts: it may have lost the processor.  Of pages that are faulted in together, three
 * quarters of it (docs/performance.md). */
static HKM_COLD void find_prices(struct hkm_learn_price *price)
{
    enum { PAGES = 32 };
    size_t page = hkm_os.page, bytes = PAGES * page, fault = SIZE_MAX, purge = SIZE_MAX;
    char *p = hkm_os_map(bytes);
    for (unsigned tries = 0; p && tries < 2; tries++) {
        size_t t = hkm_os_ns();
        for (size_t i = 0; i < bytes; i += page)
            ((volatile char *)p)[i] = 1;
        fault = least(fault, hkm_os_ns() - t);
        t = hkm_os_ns();
        (void)hkm_os_purge(p, bytes);
        purge = least(purge, hkm_os_ns() - t);
    }
    if (p)
        hkm_os_unmap(p, bytes);
    else
        fault = 700 * PAGES, purge = 150 * PAGES;
    *price = (struct hkm_learn_price){ fault / PAGES, fault / PAGES * 3 / 4, purge / PAGES, page };
}

/* ---- epochs ----------------------------------------------------------------------------------------------------- */

static uint64_t idle_in_slabs; /* bytes of free blocks */

static HKM_COLD struct totals add_up(size_t *heaps, uint64_t *free_bytes)
{
    const struct hkm_superslab_stats *st = &hkm_superslab_stats;
    struct totals t = { .faults = hkm_load(&st->faulted), .populated = hkm_load(&st->prefaulted) >> hkm_os.page_bits,
                        .purged = hkm_load(&st->purged) >> hkm_os.page_bits,
                        .returned = hkm_load(&st->returned), .reused = hkm_load(&st->reused) };
    size_t sum = 0, n = 0;
    /* Slots count as events, warm or not: what is counted is what the program does, whatever the policy. */
    t.slots = t.events = (t.faults + t.reused) >> (HKM_SLOT_SHIFT - hkm_os.page_bits);
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next, n++) {
        t.events += hkm_load(&h->events);
        t.misses += hkm_load(&h->count.refills) + hkm_load(&h->count.flushes);
        t.denied += hkm_load(&h->denied);
        sum += hkm_load(&h->free);
    }
    *heaps = n;
    *free_bytes = sum > SIZE_MAX / 2 ? 0 : sum; /* a slab was just changing hands */
    return t;
}

/* Counters of a word's width wrap around where words are short. */
static uint64_t since(uint64_t now, uint64_t before) { return (size_t)now - (size_t)before; }

/* Nobody counts the pages of slabs that were purged and are used again.  But no more of them can be without memory than are
 * free: what was purged beyond that has come back.  *gone: of those before, and now. */
static uint64_t back_in_slabs(size_t *gone, uint64_t purged)
{
    uint64_t most = idle_in_slabs >> hkm_os.page_bits, all = *gone + purged;
    *gone = (size_t)(all < most ? all : most);
    return all - *gone;
}

static struct hkm_learn_sample sample(const struct totals *now, const struct totals *was, size_t ms, size_t *gone)
{
    uint64_t purged = since(now->purged, was->purged), returned = since(now->returned, was->returned);
    uint64_t in_slabs = back_in_slabs(gone, purged > returned ? purged - returned : 0); /* what is unmapped is not purged */
    uint64_t idle = hkm_superslab_dirty() + hkm_bigcache_bytes() + idle_in_slabs;
    return (struct hkm_learn_sample){
        .ms = ms,
        .events = since(now->events, was->events),
        .slow_ns = since(now->misses, was->misses) * HKM_LEARN_MISS_NS + since(now->slots, was->slots) * HKM_LEARN_SLOT_NS,
        .faults = since(now->faults, was->faults) + in_slabs,
        .populated = since(now->populated, was->populated),
        .purged = purged,
        .returned = returned,
        .back = in_slabs,
        .misses = since(now->misses, was->misses),
        .denied = since(now->denied, was->denied),
        .allowed = hkm_heap_allowed(),
        .idle = idle,
        .resident = hkm_superslab_taken() + hkm_superslab_dirty() + hkm_big_mapped(),
    };
}

static HKM_COLD void begin(size_t now, const struct hkm_policy *base, size_t generation)
{
    enum hkm_learn_mode mode = (enum hkm_learn_mode)hkm_load(&hkm_option.evo_policy);
    size_t heaps;
    hkm_teach_room.base = *base;
    hkm_teach_room.generation = generation;
    hkm_teach_room.since = now;
    hkm_teach_room.last = add_up(&heaps, &idle_in_slabs);
    hkm_teach_room.gone = 0;
    hkm_learn_begin(&hkm_teach_room.learn, base, mode, hkm_teach_room.price);
    if (hkm_load(&hkm_option.disable_elo))
        hkm_teach_room.learn.playable = 0;
}


static HKM_COLD void epoch(size_t now)
{
    struct hkm_policy p;
    struct hkm_learn *l = &hkm_teach_room.learn;
    size_t generation = hkm_generation() + 1, heaps, ms = now - hkm_teach_room.since;
    hkm_policy_base(&p);
    if (hkm_teach_room.generation != generation || !hkm_policy_same(&p, &hkm_teach_room.base)) {
        begin(now, &p, generation);
        hkm_store(&hkm_teach_next, now + HKM_LEARN_FROM_MS);
        return;
    }
    struct totals t = add_up(&heaps, &idle_in_slabs);
    size_t gone = hkm_teach_room.gone;
    struct hkm_learn_sample s = sample(&t, &hkm_teach_room.last, ms, &gone);
    /* With many threads, adding up takes long: it is to stay a thousandth of the time. */
    size_t few = 1 + heaps / 256;
    bool over = ms >= HKM_LEARN_EPOCH_MS && s.events >= (l->epochs ? HKM_LEARN_EPOCH_EVENTS : HKM_LEARN_FROM_EVENTS);
    hkm_store(&hkm_teach_next, now + few * (hkm_learn_is_trial(l) ? HKM_LEARN_GLANCE_MS : HKM_LEARN_EPOCH_MS));
    if (!over && !hkm_learn_explodes(l, &s))
        return;
    if (!l->epochs) {
        find_prices(&l->price);
        hkm_teach_room.price = l->price;
    }
    hkm_teach_room.last = t;
    hkm_teach_room.since = now;
    hkm_teach_room.gone = gone;
    hkm_learn_epoch(l, &s, &p);
    (void)hkm_policy_publish(&p);
    if (hkm_learn_is_trial(l))
        hkm_store(&hkm_teach_next, now + few * HKM_LEARN_GLANCE_MS);
}

HKM_COLD void hkm_teach_epoch(size_t now)
{
    size_t mine = hkm_generation() + 1, was = hkm_load(&busy);
    if (hkm_load(&hkm_option.disable_learning)) {
        hkm_store(&hkm_teach_next, now + 1000);
        return;
    }
    if (was == mine || !hkm_cas(&busy, was, mine))
        return;
    epoch(now);
    hkm_store_rel(&busy, 0);
}
