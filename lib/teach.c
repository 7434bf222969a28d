/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * teach.c: see teach.h.
 *
 * `busy` guards all variables here, as in purge.c: of another process (a fork's child) it counts as clear.  The child of a fork
 * begins afresh, with what the options say, where the parent had threads; else it goes on as its parent would.
 *
 * How many pages are faulted in is not asked of the kernel, as programs may forbid themselves to ask: it is counted in pages that
 * were handed out without memory behind them, as if all of them were used.
 */
#define HKM_SMALL
#include "teach.h"
#include "big.h"
#include "bigcache.h"
#include "memcheck.h"
#include "os.h"
#include "superslab.h"

#include <string.h>

hkm_word hkm_teach_next;
static hkm_word busy;

struct totals {
    uint64_t events, faults, populated /* bytes */, purged /* bytes */, returned, reused, misses, denied;
};

struct hkm_class_room {
    struct hkm_learn learn;      /* first: live.def shows what it begins with */
    struct hkm_learn_price price;
    size_t changes;              /* of options, when learning began */
    struct totals last;
    size_t gone;                 /* pages of slabs without memory, at most */
    size_t generation, since;    /* of the process that learns, plus 1; ms: when the epoch began */
} hkm_teach_room HKM_USED HKM_BEHIND;

const struct hkm_learn *hkm_teach_state(void) { return &hkm_teach_room.learn; }

/* ---- what a page costs ------------------------------------------------------------------------------------------ */

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Measured in a free slot that no page was used of, twice, of which the lesser counts: it may have lost the processor.  Nothing is
 * mapped for it: the program may have forbidden itself that.  Of pages that are faulted in together, three quarters of it
 * (docs/performance.md). */
static HKM_COLD void find_prices(struct hkm_learn_price *price)
{
    size_t page = hkm_os.page, pages = HKM_SLOT_SIZE / page, fault = SIZE_MAX, purge = SIZE_MAX;
    struct hkm_slab *s;
    bool free_one = hkm_superslab_take(&s, 1, false), fresh = free_one && s->backing == HKM_PLAIN && !HKM_VALGRIND;
    for (unsigned tries = 0; fresh && tries < 2; tries++) {
        size_t t = hkm_os_ns();
        for (size_t i = 0; i < HKM_SLOT_SIZE; i += page)
            ((volatile char *)s->start)[i] = 0; /* it is all zero, and stays so */
        fault = least(fault, hkm_os_ns() - t);
        t = hkm_os_ns();
        fresh = hkm_os_purge(s->start, HKM_SLOT_SIZE);
        purge = least(purge, hkm_os_ns() - t);
    }
    if (free_one)
        hkm_superslab_give(s, 1);
    if (!fresh)
        fault = 700 * pages, purge = 150 * pages;
    *price = (struct hkm_learn_price){ fault / pages, fault / pages * 3 / 4, purge / pages, page };
}

/* ---- epochs ----------------------------------------------------------------------------------------------------- */

static uint64_t idle_in_slabs; /* bytes of free blocks */

static HKM_COLD struct totals add_up(size_t *heaps, uint64_t *free_bytes)
{
    const struct hkm_superslab_stats *st = &hkm_superslab_stats;
    struct totals t = { .faults = hkm_load(&st->faulted), .populated = hkm_load(&st->prefaulted), .purged = hkm_load(&st->purged),
                        .returned = hkm_load(&st->returned), .reused = hkm_load(&st->reused) };
    size_t sum = 0, n = 0;
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
    uint64_t purged = since(now->purged, was->purged) >> hkm_os.page_bits, returned = since(now->returned, was->returned);
    uint64_t faults = since(now->faults, was->faults);
    /* Slots count as events, warm or not: what is counted is what the program does, whatever the policy. */
    uint64_t slots = (faults + since(now->reused, was->reused)) >> (HKM_SLOT_SHIFT - hkm_os.page_bits);
    uint64_t in_slabs = back_in_slabs(gone, purged > returned ? purged - returned : 0); /* what is unmapped is not purged */
    uint64_t idle = hkm_superslab_dirty() + hkm_bigcache_bytes() + idle_in_slabs;
    return (struct hkm_learn_sample){
        .ms = ms,
        .events = since(now->events, was->events) + slots,
        .slow_ns = since(now->misses, was->misses) * HKM_LEARN_MISS_NS + slots * HKM_LEARN_SLOT_NS,
        .faults = faults + in_slabs,
        .populated = since(now->populated, was->populated) >> hkm_os.page_bits,
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

/* As the options say, and all that was learned is forgotten. */
static HKM_COLD void begin(size_t now, size_t changes, size_t generation)
{
    enum hkm_learn_mode mode = (enum hkm_learn_mode)hkm_load(&hkm_option.evo_policy);
    struct hkm_learn *l = &hkm_teach_room.learn;
    struct hkm_policy base;
    size_t heaps;
    hkm_policy_base(&base);
    (void)hkm_policy_publish(&base, changes);
    hkm_teach_room.changes = changes;
    hkm_teach_room.generation = generation;
    hkm_teach_room.since = now;
    hkm_teach_room.last = add_up(&heaps, &idle_in_slabs);
    hkm_teach_room.gone = 0;
    hkm_learn_begin(l, &base, mode, hkm_teach_room.price);
    l->limit_given = HKM_NAMED(dirty_kb) || HKM_NAMED(dirty_percent) || hkm_policy_is_saved;
    l->pace_given = HKM_NAMED(purge_ms);
    if (hkm_load(&hkm_option.disable_elo))
        l->playable = 0;
}

static HKM_COLD void epoch(size_t now, size_t changes)
{
    struct hkm_policy p;
    struct hkm_learn *l = &hkm_teach_room.learn;
    size_t generation = hkm_generation() + 1, heaps, ms = now - hkm_teach_room.since;
    if (hkm_teach_room.generation != generation || hkm_teach_room.changes != changes) {
        begin(now, changes, generation);
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
    if (!l->epochs && l->mode != HKM_EVO_FROZEN) {
        find_prices(&l->price);
        hkm_teach_room.price = l->price;
    }
    hkm_teach_room.last = t;
    hkm_teach_room.since = now;
    hkm_teach_room.gone = gone;
    hkm_policy_base(&p);
    hkm_learn_epoch(l, &s, &p);
    (void)hkm_policy_publish(&p, changes);
    if (hkm_learn_is_trial(l))
        hkm_store(&hkm_teach_next, now + few * HKM_LEARN_GLANCE_MS);
}

HKM_COLD void hkm_teach_epoch(size_t now)
{
    size_t mine = hkm_generation() + 1, was = hkm_load(&busy), changes = hkm_policy_changes();
    if (was == mine || !hkm_cas(&busy, was, mine))
        return;
    if (hkm_load(&hkm_option.disable_learning)) { /* asked after `changes`: what is published by an older number does not count */
        memset(&hkm_teach_room.learn, 0, sizeof hkm_teach_room.learn);
        hkm_teach_room.generation = 0;
        hkm_store(&hkm_teach_next, now + 1000);
    } else if (hkm_teach_room.since - now - 1 >= (size_t)1 << 22) { /* else another thread was here since we looked at the time */
        epoch(now, changes);
    }
    hkm_store_rel(&busy, 0);
}
