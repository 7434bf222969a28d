/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_heap.c: Unified Caches, slabs behind them, frees of other threads, and what a fork leaves of a heap.
 */
#include "heap.h"
#include "option.h"
#include "policy.h"
#include "shared_pool.h"
#include "superslab.h"
#include "unit.h"

#include <semaphore.h>
#include <ucontext.h>

static void start(void)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1);
}

static struct hkm_heap *new_heap(void)
{
    struct hkm_heap *h = hkm_heap_new();
    expect(h != NULL);
    hkm_heap_assign(h, hkm_os_thread());
    return h;
}

static size_t held_slots(void) { return hkm_load(&hkm_superslab_stats.taken); }

/* The ways of malloc and free, without thread.c. */
static void *take(struct hkm_heap *h, unsigned cls)
{
    struct hkm_bin *b = h->bin[cls];
    void *p = b ? hkm_bin_take(b) : NULL;
    while (!p && !(p = hkm_heap_refill(h, cls)))
        if (!hkm_heap_supply(h, cls) && !hkm_shared_pool_grow())
            return NULL;
    return (void *)((uintptr_t)p & ~HKM_ZERO);
}
static void give(struct hkm_heap *h, void *p)
{
    struct hkm_slab *s = hkm_registry_slab(p);
    if (hkm_load(&s->owner) != (size_t)h) {
        hkm_heap_free_remote(h, s, hkm_class_index(s->magic, (uint16_t)(uintptr_t)p));
        return;
    }
    struct hkm_bin *b = h->bin[s->cls];
    expect(b->room >= 1);
    b->slots[b->room - 1] = p;
    hkm_in_order();
    if (!--b->room)
        hkm_heap_full(b);
}

static unsigned cached(const struct hkm_heap *h, unsigned cls)
{
    return h->bin[cls] ? h->bin[cls]->cap - h->bin[cls]->room : 0;
}

START_TEST(empty_heap)
{
    ck_assert_uint_eq(hkm_load(&hkm_bin_none.tag.thread), 0);
    ck_assert_int_ne(hkm_bin_none.tag.kind, HKM_KIND_SLAB);
    start();
    struct hkm_heap *h = new_heap();
    for (size_t size = 0; size <= HKM_TINY_MAX; size++) {
        const struct hkm_bin *b = h->at[h->map[size + 15]];
        expect(b == &hkm_bin_none && b->room == b->cap && !b->first);
    }
    ck_assert_uint_eq(hkm_mid_held(&h->runs), 0);
    ck_assert(hkm_heap_valid(h));
    hkm_heap_flush(h);
    ck_assert_uint_eq(hkm_heap_purge(h), 0);
    ck_assert_uint_eq(held_slots(), 0);
    ck_assert_ptr_null(hkm_heap_refill(h, 0)); /* there is no slab yet */
}
END_TEST

START_TEST(sizes_find_their_bins)
{
    start();
    struct hkm_heap *h = new_heap();
    for (unsigned c = HKM_CLASSES; c-- > 0;)
        give(h, take(h, c));
    for (size_t size = 0; size <= HKM_TINY_MAX; size++) {
        struct hkm_bin *b = h->at[h->map[size + 15]];
        expect(b == h->bin[hkm_class_of(size)] && b->tag.cls == hkm_class_of(size));
        expect(b->tag.magic == hkm_class[b->tag.cls].magic && hkm_load(&b->tag.thread) == hkm_os_thread());
    }
    ck_assert(hkm_heap_valid(h));
}
END_TEST

/* Takes, then gives, ever more blocks: the class's cache grows as far as it may. */
static void drive(struct hkm_heap *h, unsigned cls)
{
    static void *p[5000];
    unsigned most = hkm_class[cls].most, n = 2 * most + 20;
    for (int round = 0; round < 12; round++) {
        for (unsigned i = 0; i < n; i++) {
            p[i] = take(h, cls);
            expect(p[i] != NULL);
            memset(p[i], (int)i, 16);
        }
        for (unsigned i = 0; i < n; i++) {
            expect(all_bytes(p[i], 16, (unsigned char)i));
            give(h, p[i]);
            expect(h->bin[cls]->slots[h->bin[cls]->cap] == NULL && h->bin[cls]->room >= 1);
        }
    }
    expect(hkm_heap_valid(h));
}

static bool inside(const struct hkm_heap *h)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        const struct hkm_bin *b = h->bin[c];
        if (b && ((const char *)b < (const char *)(h + 1) ||
                  (const char *)&b->slots[b->places + 1] > (const char *)h + HKM_HEAP_SIZE))
            return false;
        for (unsigned d = 0; b && d < c; d++) { /* and apart */
            const struct hkm_bin *o = h->bin[d];
            if (o && (const char *)b < (const char *)&o->slots[o->places + 1] &&
                (const char *)o < (const char *)&b->slots[b->places + 1])
                return false;
        }
    }
    return true;
}

START_TEST(every_cache_reaches_its_most)
{
    start();
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_heap *h = new_heap();
        drive(h, c);
        ck_assert_uint_eq(h->bin[c]->cap, hkm_class[c].most);
        ck_assert(inside(h));
        hkm_heap_flush(h);
        ck_assert_uint_eq(held_slots(), 0);
    }
}
END_TEST

/* All of them together: where there is no room to grow a cache stays as it is, but each class has one. */
START_TEST(all_caches_have_room)
{
    start();
    for (int order = 0; order < 4; order++) {
        struct hkm_heap *h = new_heap();
        if (order == 2)
            for (unsigned c = 0; c < HKM_CLASSES; c++)
                give(h, take(h, c));
        for (unsigned i = 0; i < HKM_CLASSES; i++)
            drive(h, order == 1 ? HKM_CLASSES - 1 - i : order == 3 ? i * 41 % HKM_CLASSES : i);
        unsigned at_most = 0;
        for (unsigned c = 0; c < HKM_CLASSES; c++) {
            ck_assert_ptr_nonnull(h->bin[c]);
            at_most += h->bin[c]->places == hkm_class[c].most; /* those idle since have shrunk */
        }
        ck_assert_uint_ge(at_most, HKM_CLASSES / 3);
        ck_assert(h->bump <= (char *)h + HKM_HEAP_SIZE);
        ck_assert(inside(h));
        hkm_heap_flush(h);
        ck_assert_uint_eq(held_slots(), 0);
    }
}
END_TEST

/* What the caches of all heaps may hold stays within the budget; a cache beyond it holds one block. */
START_TEST(caches_share_a_budget)
{
    enum { HEAPS = 12 };
    struct hkm_heap *h[HEAPS];
    start();
    SET_OPTION(cache_kb, 1024);
    for (unsigned i = 0; i < HEAPS; i++) {
        h[i] = new_heap();
        unsigned lean = 0;
        for (unsigned c = 0; c < HKM_CLASSES; c++) {
            drive(h[i], c);
            size_t limit = hkm_policy_cache_limit(hkm_policy(), hkm_load(&hkm_superslab_stats.mapped) << HKM_SLOT_SHIFT);
            ck_assert_uint_le(hkm_heap_allowed(), limit);
            ck_assert(h[i]->bin[c]->cap > 2 || cached(h[i], c) <= 1);
            lean += h[i]->bin[c]->cap == 2;
        }
        ck_assert(i < HEAPS - 1 || lean >= 8);
    }
    size_t before = hkm_heap_allowed(), its = h[0]->allowed;
    ck_assert_uint_gt(its, 0);
    hkm_heap_flush(h[0]);
    hkm_heap_assign(h[0], 0); /* its thread is gone: so is its share */
    ck_assert_uint_eq(hkm_heap_allowed(), before - its);
    SET_OPTION(cache_kb, 0);
    hkm_heap_assign(h[0], hkm_os_thread());
    size_t limit = hkm_policy_cache_limit(hkm_policy(), hkm_load(&hkm_superslab_stats.mapped) << HKM_SLOT_SHIFT);
    ck_assert(hkm_heap_allowed() <= limit || h[0]->allowed == 0); /* no room for it any more: it starts anew */
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        drive(h[0], c);
    for (unsigned i = 0; i < HEAPS; i++) {
        hkm_heap_flush(h[i]);
        hkm_heap_assign(h[i], 0);
        ck_assert(hkm_heap_valid(h[i]) && inside(h[i]));
    }
    ck_assert_uint_eq(hkm_heap_allowed(), 0);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* A cache that its thread does not use any more is emptied in the course of its other work, and grows again later. */
START_TEST(idle_caches_are_emptied)
{
    enum { IDLE = 20, BUSY = 3 };
    start();
    struct hkm_heap *h = new_heap();
    drive(h, IDLE);
    size_t before = hkm_heap_allowed(), bytes = (size_t)cached(h, IDLE) * hkm_class[IDLE].size;
    ck_assert_uint_ge(bytes, 10000);
    for (unsigned rounds = 0; cached(h, IDLE); rounds++) {
        ck_assert_uint_lt(rounds, 1000);
        drive(h, BUSY);
    }
    ck_assert_uint_gt(cached(h, BUSY), 0);
    ck_assert_uint_lt(hkm_heap_allowed(), before + (size_t)hkm_class[BUSY].most * hkm_class[BUSY].size);
    ck_assert_uint_lt(h->bin[IDLE]->cap, hkm_class[IDLE].most);
    const struct hkm_bin *was = h->bin[IDLE];
    drive(h, IDLE);
    ck_assert_ptr_eq(h->bin[IDLE], was); /* in its old place */
    ck_assert_uint_eq(h->bin[IDLE]->cap, hkm_class[IDLE].most);
    hkm_heap_flush(h);
    ck_assert(hkm_heap_valid(h));
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* What one thread's caches had grown to, the next one's do not start with: its first refill would bring it all. */
START_TEST(caches_of_a_parked_heap)
{
    enum { LARGE = 3, SMALL = 40 };
    start();
    struct hkm_heap *h = new_heap();
    drive(h, LARGE);
    give(h, take(h, SMALL));
    void *lives = take(h, LARGE); /* so that a slab stays */
    unsigned cap = h->bin[SMALL]->cap;
    const struct hkm_bin *was = h->bin[LARGE];
    ck_assert_uint_eq(was->cap, hkm_class[LARGE].most);
    hkm_heap_flush(h); /* the program wants its memory back: the thread is the same */
    ck_assert_uint_eq(was->cap, hkm_class[LARGE].most);
    hkm_heap_assign(h, 0);
    hkm_heap_flush(h);
    ck_assert_uint_lt(was->cap, 32);
    ck_assert_uint_eq(h->bin[SMALL]->cap, cap);
    ck_assert(hkm_heap_valid(h));
    size_t left = h->allowed;
    hkm_heap_assign(h, hkm_os_thread());
    ck_assert_uint_eq(hkm_heap_allowed(), left);
    uint64_t refilled = h->count.refilled_blocks;
    void *p = take(h, LARGE);
    ck_assert_uint_lt(h->count.refilled_blocks - refilled, 32);
    give(h, p);
    give(h, lives);
    drive(h, LARGE);
    ck_assert_ptr_eq(h->bin[LARGE], was); /* in its old place */
    ck_assert_uint_eq(was->cap, hkm_class[LARGE].most);
    hkm_heap_flush(h);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* A thread that frees much and takes nothing keeps little; what it builds and drops in smaller amounts does not count. */
START_TEST(caches_of_a_shrinking_heap)
{
    enum { N = 60000 };
    static void *p[N];
    start();
    struct hkm_heap *h = new_heap();
    static const unsigned classes[] = { 3, 7, 15, 31, 40, 47 };
    for (unsigned i = 0; i < COUNT_OF(classes); i++)
        drive(h, classes[i]);
    for (unsigned i = 0; i < N; i++)
        memset(p[i] = take(h, classes[i % COUNT_OF(classes)]), (int)i, 8);
    for (unsigned i = 0; i < N; i++)
        if (i % 100) /* the others still live */
            give(h, p[i]);
    for (unsigned i = 0; i < COUNT_OF(classes); i++)
        ck_assert_uint_le(cached(h, classes[i]),
                          hkm_policy_cache_retreat(hkm_class[classes[i]].most, hkm_class[classes[i]].size, true));
    ck_assert(hkm_heap_valid(h));
    for (unsigned i = 0; i < N; i += 100) {
        ck_assert(all_bytes(p[i], 8, (unsigned char)i));
        give(h, p[i]);
    }
    drive(h, 31);
    drive(h, 31);
    ck_assert_uint_eq(h->bin[31]->cap, hkm_class[31].most); /* and they grow again */
    hkm_heap_flush(h);
    ck_assert_uint_eq(held_slots(), 0);
    ck_assert_uint_eq(hkm_load(&h->free), 0);
}
END_TEST

START_TEST(growth_keeps_what_is_cached)
{
    static void *p[3000];
    start();
    struct hkm_heap *h = new_heap();
    unsigned cls = 3, n = 0, moved = 0;
    uint64_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        struct hkm_bin *b = h->bin[cls];
        if (n && (n == COUNT_OF(p) || random_below(&seed, 100) < 50)) {
            void *q = p[--n];
            unsigned before = cached(h, cls), count = hkm_load(&h->count.flushes);
            give(h, q);
            expect(hkm_load(&h->count.flushes) != count || cached(h, cls) == before + 1);
            expect(h->bin[cls]->slots[h->bin[cls]->room] == q); /* the newest is on top, also of the new bin */
        } else {
            p[n++] = take(h, cls);
        }
        moved += b && b != h->bin[cls];
        for (unsigned i = 0; b && i < 5 && n; i++) { /* tags point to the bin that is in use */
            void *q = p[random_below(&seed, n)];
            struct hkm_slab *s = hkm_registry_slab(q);
            expect(hkm_tag_at(s->range, hkm_slab_slot(s)) == &h->bin[cls]->tag);
        }
    }
    ck_assert_uint_ge(moved, 2);
    ck_assert(hkm_heap_valid(h));
    while (n)
        give(h, p[--n]);
    hkm_heap_flush(h);
    ck_assert_uint_eq(cached(h, cls), 0);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* The first block of a cache and those in its array: none is lost or there twice, in whatever order they come and go. */
START_TEST(pops_and_pushes)
{
    enum { CLS = 9 };
    static void *out[2000];
    start();
    SET_OPTION(disable_cache_growth, 1); /* a small one often becomes empty */
    struct hkm_heap *h = new_heap();
    give(h, take(h, CLS));
    unsigned n = 0, without = 0, alone = 0;
    uint64_t seed = 1;
    for (int round = 0; round < 40000; round++) {
        struct hkm_bin *b = h->bin[CLS];
        unsigned had = cached(h, CLS);
        if (n && (n == COUNT_OF(out) || random_below(&seed, 100) < (round / 40 % 2 ? 60 : 40))) {
            void *p = out[--n];
            expect(*(void **)p == &out[n] && ((void **)p)[1] == (void *)p); /* nobody else got it */
            give(h, p);
        } else {
            without += had > 1 && !b->first;
            alone += had == 1 && !b->first;
            void *p = take(h, CLS);
            *(void **)p = &out[n];
            ((void **)p)[1] = p;
            out[n++] = p;
            expect(had == 0 || (b == h->bin[CLS] && cached(h, CLS) == had - 1));
        }
        expect(round % 16 || hkm_heap_valid(h));
    }
    ck_assert_uint_gt(without, 100);
    ck_assert_uint_gt(alone, 100);
    while (n)
        give(h, out[--n]);
    hkm_heap_flush(h);
    ck_assert_uint_eq(cached(h, CLS), 0);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

START_TEST(flush_gives_the_oldest)
{
    start();
    SET_OPTION(disable_cache_growth, 1);
    struct hkm_heap *h = new_heap();
    void *p[40];
    for (unsigned i = 0; i < 40; i++)
        p[i] = take(h, 0);
    while (cached(h, 0))
        (void)take(h, 0);
    unsigned cap = h->bin[0]->cap, i = 0;
    size_t flushes = hkm_load(&h->count.flushes);
    while (hkm_load(&h->count.flushes) == flushes)
        give(h, p[i++]);
    ck_assert_uint_eq(i, cap); /* the push that leaves no room flushes */
    unsigned left = cached(h, 0);
    ck_assert(left >= 1 && left < cap);
    ck_assert_uint_eq(hkm_load(&h->count.flushed_blocks), cap - left);
    for (unsigned k = 0; k < left; k++)
        ck_assert_ptr_eq(h->bin[0]->slots[h->bin[0]->room + k], p[cap - 1 - k]);
    ck_assert(hkm_heap_valid(h));
}
END_TEST

START_TEST(slabs_go_back_to_the_pool)
{
    static void *p[20000];
    start();
    struct hkm_heap *h = new_heap();
    unsigned cls = hkm_class_of(500);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = take(h, cls);
    size_t all = held_slots();
    ck_assert_uint_ge(all, COUNT_OF(p) / hkm_class[cls].blocks);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(h, p[i]);
    ck_assert_uint_lt(held_slots(), all / 4); /* without any flush that was asked for */
    ck_assert_uint_le(h->nspare, HKM_SPARES);
    hkm_heap_flush(h);
    ck_assert_uint_eq(held_slots(), 0);
    ck_assert_uint_eq(h->nspare, 0);
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++)
        expect(hkm_tag_at(&hkm_range, i) == &hkm_tag_none && hkm_load(&hkm_slab_at(&hkm_range, i)->owner) == 0);
}
END_TEST

/* ---- frees of other threads -------------------------------------------------------------------------------------- */

START_TEST(remote_frees_come_in_batches)
{
    enum { N = HKM_REMOTE_BYTES / HKM_REMOTE_LEAST };
    start();
    struct hkm_heap *h = new_heap(), *other = new_heap();
    static void *p[N];
    for (unsigned i = 0; i < N; i++)
        p[i] = take(h, 0);
    struct hkm_slab *s = hkm_registry_slab(p[0]);
    expect(hkm_registry_slab(p[N - 1]) == s);
    unsigned before = s->nfree;
    for (unsigned i = 0; i < N - 1; i++)
        give(other, p[i]);
    ck_assert_uint_eq(other->nremote, N / HKM_WORD_BITS); /* a place for each word of the bitmap, not for each block */
    ck_assert_uint_eq(hkm_load(&h->inbox), 0);
    give(other, p[N - 1]);
    ck_assert_uint_eq(other->nremote, 0);
    ck_assert_uint_eq(other->remote_bytes, 0);
    ck_assert_uint_eq(hkm_load(&h->inbox), (size_t)s);
    ck_assert_uint_eq(hkm_load(&s->pending), 1);
    ck_assert_uint_eq(s->nfree, before);
    hkm_heap_drain(h);
    ck_assert_uint_eq(hkm_load(&h->inbox), 0);
    ck_assert_uint_eq(hkm_load(&s->pending), 0);
    ck_assert_uint_eq(s->nfree, before + N);
    ck_assert_uint_eq(hkm_load(&other->count.remote_frees), N);
    ck_assert(hkm_heap_valid(h) && hkm_heap_valid(other));
}
END_TEST

/* Blocks of many slabs, no two of one word: they fill the places, and all arrive. */
START_TEST(remote_buffer_is_bounded_in_places)
{
    start();
    struct hkm_heap *h = new_heap(), *other = new_heap();
    unsigned n = HKM_REMOTE * HKM_WORD_BITS, used = 0;
    void **p = malloc(n * sizeof *p);
    uintptr_t was = 0;
    for (unsigned i = 0; i < n; i++)
        p[i] = take(h, 0);
    for (unsigned i = 0; i < n; i++) {
        uintptr_t word = (uintptr_t)p[i] / 16 / HKM_WORD_BITS;
        if (word == was) /* the blocks come in ascending order */
            continue;
        was = word;
        ck_assert_uint_eq(other->nremote, used % HKM_REMOTE);
        give(other, p[i]);
        p[i] = NULL;
        used++;
    }
    ck_assert_uint_ge(used, HKM_REMOTE);
    for (unsigned i = 0; i < n; i++)
        if (p[i])
            give(i % 2 ? other : h, p[i]); /* and now places are used again and again */
    hkm_heap_flush(other);
    hkm_heap_flush(h);
    ck_assert_uint_eq(held_slots(), 0);
    free(p);
}
END_TEST

START_TEST(remote_buffer_is_bounded_in_bytes)
{
    start();
    struct hkm_heap *h = new_heap(), *other = new_heap();
    unsigned cls = HKM_CLASSES - 1, n = HKM_REMOTE_BYTES / HKM_MID_MAX;
    void *p[8];
    for (unsigned i = 0; i < n; i++)
        p[i] = take(h, cls);
    for (unsigned i = 0; i < n; i++) {
        ck_assert_uint_eq(other->nremote, i);
        give(other, p[i]);
    }
    ck_assert_uint_eq(other->nremote, 0);
    ck_assert_uint_ne(hkm_load(&h->inbox), 0);
    /* The owner finds them before it asks for another slab. */
    size_t slots = held_slots();
    hkm_heap_drain(h);
    for (unsigned i = 0; i < n; i++)
        ck_assert_ptr_nonnull(take(h, cls));
    ck_assert_uint_le(held_slots(), slots);
}
END_TEST

/* Found while the first free is still in the buffer, whatever came in between. */
static void free_twice_in_one_batch(void *arg)
{
    struct hkm_heap **h = arg;
    void *p = take(h[0], 5), *q = take(h[0], 5);
    give(h[1], p);
    give(h[1], q);
    give(h[1], p);
}

static void free_twice_remotely(void *arg)
{
    struct hkm_heap **h = arg;
    void *p = take(h[0], 5), *q = take(h[0], 5);
    give(h[1], p);
    give(h[1], q);
    hkm_heap_flush_remote(h[1]);
    give(h[1], p);
    hkm_heap_flush_remote(h[1]);
    hkm_heap_drain(h[0]);
}

START_TEST(remote_double_free)
{
    start();
    struct hkm_heap *h[2] = { new_heap(), new_heap() };
    (void)take(h[0], 5);
    void *p = h[0]->bin[5]->first;
    unit_aborts(free_twice_in_one_batch, h, "hakmem: free(): double free: %p\n", p);
    unit_aborts(free_twice_remotely, h, "hakmem: free(): double free: %p\n", p);
}
END_TEST

START_TEST(late_posts_find_the_new_owner)
{
    start();
    struct hkm_heap *a = new_heap(), *b = new_heap(), *other = new_heap();
    unsigned cls = hkm_class_of(100);
    void *keep = take(a, cls), *p = take(a, cls), *q = take(a, cls);
    struct hkm_slab *s = hkm_registry_slab(p);
    give(b, take(b, cls)); /* it has a bin */
    hkm_heap_flush(a);
    hkm_heap_assign(a, 0); /* parked */
    give(other, p);
    hkm_heap_flush_remote(other); /* in a's inbox */
    hkm_lock(&a->lock);
    ck_assert(hkm_heap_claim(b, a, cls));
    ck_assert_uint_eq(hkm_load(&s->owner), (size_t)b);
    ck_assert_ptr_eq(hkm_tag_at(s->range, hkm_slab_slot(s)), &b->bin[cls]->tag);
    ck_assert_uint_eq(hkm_load(&s->pending), 0); /* a's inbox was drained on the way */
    /* A post that was under way while the owner changed: it lands in the wrong inbox. */
    hkm_slab_remote(s, q);
    hkm_swap(&s->pending, 1);
    hkm_store(&s->inbox_next, 0);
    hkm_store(&a->inbox, (size_t)s);
    unsigned before = s->nfree;
    hkm_heap_drain(a);
    ck_assert_uint_eq(hkm_load(&a->inbox), 0);
    ck_assert_uint_eq(hkm_load(&b->inbox), (size_t)s); /* posted on */
    ck_assert_uint_eq(s->nfree, before);
    hkm_heap_drain(b);
    ck_assert_uint_eq(s->nfree, before + 1);
    give(b, keep);
    ck_assert(hkm_heap_valid(a) && hkm_heap_valid(b));
    hkm_heap_flush(b);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

START_TEST(posts_for_nobody_are_dropped)
{
    start();
    struct hkm_heap *h = new_heap();
    void *p = take(h, 0);
    struct hkm_slab *s = hkm_registry_slab(p);
    give(h, p);
    hkm_heap_flush(h);
    ck_assert_uint_eq(hkm_load(&s->owner), 0);
    hkm_heap_post(s);
    ck_assert_uint_eq(hkm_load(&s->pending), 0);
    ck_assert_uint_eq(hkm_load(&h->inbox), 0);
    /* A post that is left in an inbox when the slab goes. */
    p = take(h, 0);
    s = hkm_registry_slab(p);
    hkm_heap_post(s);
    give(h, p);
    hkm_heap_flush(h);
    hkm_heap_drain(h);
    ck_assert_uint_eq(hkm_load(&h->inbox), 0);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

START_TEST(claim_from_a_parked_heap)
{
    start();
    struct hkm_heap *from = new_heap(), *to = new_heap();
    unsigned cls = hkm_class_of(1000);
    void *keep = take(from, cls);
    pattern_fill(keep, 1000, 1);
    hkm_heap_flush(from);
    hkm_heap_assign(from, 0);
    give(to, take(to, cls));
    hkm_lock(&from->lock);
    ck_assert(!hkm_heap_claim(to, from, cls + 1)); /* it has none of that class */
    ck_assert_uint_eq(hkm_load(&from->lock.word), 0);
    size_t slots = held_slots();
    hkm_lock(&from->lock);
    ck_assert(hkm_heap_claim(to, from, cls));
    ck_assert_uint_eq(hkm_load(&from->lock.word), 0);
    ck_assert_uint_eq(held_slots(), slots);
    ck_assert(hkm_heap_valid(from) && hkm_heap_valid(to));
    ck_assert_ptr_null(from->tiny[cls].partial);
    hkm_lock(&from->lock);
    ck_assert(!hkm_heap_claim(to, from, cls));
    ck_assert(pattern_holds(keep, 1000, 1));
    give(to, keep); /* a block of its own now */
    ck_assert_uint_eq(to->nremote, 0);
    hkm_heap_flush(to);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* The new owner's inbox is drained by somebody else, just when the slab has come over: it loses its last block then,
 * and with that its place in the heap. */
static struct {
    struct hkm_heap *from, *to;
    unsigned cls;
} move;

static void *claim_it(void *arg)
{
    hkm_lock(&move.from->lock);
    return hkm_heap_claim(move.to, move.from, move.cls) ? arg : NULL;
}
static void *drain_it(void *arg)
{
    hkm_heap_drain(move.to);
    return arg;
}

START_TEST(claimed_slab_is_emptied_at_once)
{
    start();
    for (int round = 0; round < 20; round++) {
        move.from = new_heap();
        move.to = new_heap();
        move.cls = hkm_class_of(1000);
        void *mine = take(move.to, move.cls), *last = take(move.from, move.cls);
        struct hkm_slab *s = hkm_registry_slab(last);
        hkm_heap_flush(move.from);
        hkm_heap_assign(move.from, 0);
        hkm_lock(&move.to->lock);
        pthread_t drainer = unit_start(drain_it, s);
        usleep(3000); /* it waits for the lock */
        pthread_t claimer = unit_start(claim_it, s);
        while (hkm_load(&s->owner) != (size_t)move.to)
            usleep(100);
        usleep(3000); /* and so does this one, behind it */
        hkm_slab_remote(s, last);
        hkm_heap_post(s);
        hkm_unlock(&move.to->lock);
        unit_join(drainer);
        unit_join(claimer);
        ck_assert(hkm_heap_valid(move.from) && hkm_heap_valid(move.to));
        give(move.to, mine);
        hkm_heap_flush(move.to);
        ck_assert_uint_eq(held_slots(), 0);
        for (unsigned i = 0; i < 200; i++) {
            void *p = take(move.to, move.cls);
            memset(p, 1, 1000);
        }
        hkm_heap_flush(move.to);
        ck_assert(hkm_heap_valid(move.to));
        size_t slots = 0;
        for (struct hkm_slab *t = move.to->tiny[move.cls].full; t; t = t->next)
            slots++;
        for (struct hkm_slab *t = move.to->tiny[move.cls].partial; t; t = t->next)
            slots++;
        ck_assert_uint_eq(held_slots(), slots);
        hkm_superslab_stats.taken -= slots; /* forgotten: the next round has other heaps */
    }
}
END_TEST

/* ---- purge and statistics ---------------------------------------------------------------------------------------- */

START_TEST(purge_gives_free_pages_back)
{
    static void *p[4000];
    start();
    struct hkm_heap *h = new_heap();
    unsigned cls = hkm_class_of(512);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        memset(p[i] = take(h, cls), 7, 512);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        if (i % 64)
            give(h, p[i]);
    hkm_heap_flush(h);
    size_t slots = held_slots(), done = hkm_heap_purge(h);
    ck_assert_uint_eq(held_slots(), slots);
    if (hkm_os.page == 4096)
        ck_assert_uint_ge(done, COUNT_OF(p) * 512 / 2);
    ck_assert_uint_eq(hkm_heap_purge(h), 0);
    for (unsigned i = 0; i < COUNT_OF(p); i += 64) {
        ck_assert(all_bytes(p[i], 512, 7));
        give(h, p[i]);
    }
    ck_assert(hkm_heap_valid(h));
    hkm_heap_flush(h);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

static unsigned populated_for_nobody(const struct hkm_slab *list)
{
    unsigned pages = 0;
    for (; list; list = list->next)
        pages += hkm_popcount(list->backed & list->zero);
    return pages;
}

static size_t prefaulted(void) { return hkm_load(&hkm_superslab_stats.prefaulted); }

/* Fills slabs of all classes above a page, and writes to so much of each block. */
static void fill_large(struct hkm_heap *h, unsigned slabs, size_t written)
{
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        for (unsigned n = 0; hkm_class[c].size > hkm_os.page && n < slabs * hkm_class[c].blocks; n++) {
            char *p = take(h, c);
            ck_assert_ptr_nonnull(p);
            memset(p, 7, written < hkm_class[c].size ? written : hkm_class[c].size);
        }
    }
}

/* Of memory that the program may never write to nothing is faulted in, of other memory an eighth of what is in use at most. */
START_TEST(faulted_in_ahead)
{
    start();
    SET_OPTION(disable_prefault, 0);
    struct hkm_heap *h = new_heap();
    size_t page = hkm_os.page, sum = 0;
    if (hkm_class[HKM_CLASSES - 1].size <= page) /* pages so large that one of them is half a slot */
        return;
    fill_large(h, 40, 1);
    ck_assert_uint_ge(held_slots() * HKM_SLOT_SIZE, 8 << 20);
    ck_assert_uint_eq(prefaulted(), 0);
    for (unsigned c = 0; c < HKM_CLASSES && hkm_class[c].size <= page; c += 5) {
        size_t most = 0;
        for (unsigned n = 0; n < 40u * hkm_class[c].blocks; n++) {
            expect(take(h, c) != NULL);
            size_t now = (populated_for_nobody(h->tiny[c].partial) + populated_for_nobody(h->tiny[c].full)) * page;
            ck_assert_uint_le(now, HKM_SLOT_SIZE);
            most = most > now ? most : now;
        }
        sum += most;
    }
    ck_assert_uint_le(sum, held_slots() * HKM_SLOT_SIZE / 8);
    ck_assert(sum || !prefaulted());
    ck_assert(prefaulted() || hkm_load(&hkm_superslab_stats.prefault_fallbacks));
    hkm_heap_flush(h);
}
END_TEST

/* Pages of blocks above a page are faulted in where the program has written to all of the last ones, and not where it cannot be
 * seen. */
START_TEST(faulted_in_where_all_is_written)
{
    start();
    SET_OPTION(disable_prefault, 0);
    struct hkm_heap *h = new_heap();
    if (hkm_class[HKM_CLASSES - 1].size <= hkm_os.page || HKM_VALGRIND)
        return;
    fill_large(h, 40, SIZE_MAX);
    size_t slots = held_slots() * HKM_SLOT_SIZE, done = prefaulted();
    if (hkm_load(&hkm_superslab_stats.prefault_fallbacks)) /* the kernel cannot */
        return;
    ck_assert_uint_ge(done, slots / 4);
    fill_large(h, 1, SIZE_MAX); /* the last slab before those that follow */
    fill_large(h, 8, 1);
    ck_assert_uint_le(prefaulted() - done, slots / 10);
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        for (const struct hkm_slab *s = h->tiny[c].full; hkm_class[c].size > hkm_os.page && s; s = s->next)
            expect(hkm_os_forbid(s->start, HKM_SLOT_SIZE));
    done = prefaulted();
    fill_large(h, 1, 1);
    ck_assert_uint_le(prefaulted() - done, slots / 40); /* of the slabs that were begun */
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        for (const struct hkm_slab *s = h->tiny[c].full; hkm_class[c].size > hkm_os.page && s; s = s->next)
            expect(hkm_os_allow(s->start, HKM_SLOT_SIZE));
}
END_TEST

START_TEST(stats_add_up)
{
    static void *p[5000];
    uint64_t seed = 1, live = 0;
    start();
    struct hkm_heap *h = new_heap(), *other = new_heap();
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        unsigned cls = (unsigned)random_below(&seed, HKM_CLASSES);
        p[i] = take(h, cls);
        live += hkm_class[cls].size;
    }
    for (unsigned i = 0; i < COUNT_OF(p); i += 2) {
        live -= hkm_registry_slab(p[i])->size;
        give(i % 4 ? h : other, p[i]);
    }
    hkm_heap_flush_remote(other);
    struct hak_stats s = { 0 };
    hkm_heap_stats(h, &s);
    ck_assert_uint_eq(s.live_bytes, live);
    uint64_t in_caches = 0, in_slabs = 0, slabs = 0;
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        in_caches += (uint64_t)cached(h, c) * hkm_class[c].size;
    ck_assert_uint_eq(s.cached_bytes, in_caches);
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++) {
        struct hkm_slab *b = hkm_slab_at(&hkm_range, i);
        if (hkm_tag_at(&hkm_range, i)->kind == HKM_KIND_SLAB) {
            in_slabs += (uint64_t)b->blocks * b->size;
            slabs++;
        }
    }
    ck_assert_uint_eq(s.slabs, slabs);
    ck_assert_uint_eq(s.live_bytes + s.cached_bytes + s.free_bytes, in_slabs);
    ck_assert_uint_eq(s.refills, hkm_load(&h->count.refills));
    ck_assert_uint_gt(s.refilled_blocks, 0);
    hkm_heap_flush(h);
    memset(&s, 0, sizeof s);
    s.live_bytes = 1000; /* it adds to what is there */
    hkm_heap_stats(h, &s);
    ck_assert_uint_eq(s.live_bytes, 1000 + live);
    ck_assert_uint_eq(s.cached_bytes, 0);
    ck_assert_uint_eq(s.flushed_blocks + COUNT_OF(p) - COUNT_OF(p) / 4, s.refilled_blocks);
}
END_TEST

/* ---- random work ------------------------------------------------------------------------------------------------- */

START_TEST(random_work)
{
    enum { COUNT = 3000 };
    static struct {
        void *p;
        unsigned cls;
    } held[COUNT];
    struct hkm_heap *h[3];
    uint64_t seed = 1;
    start();
    for (size_t i = 0; i < COUNT_OF(h); i++)
        h[i] = new_heap();
    for (int round = 0; round < 60000; round++) {
        size_t i = random_below(&seed, COUNT), by = random_below(&seed, COUNT_OF(h));
        if (!held[i].p) {
            held[i].cls = (unsigned)random_below(&seed, random_below(&seed, 4) ? 20 : HKM_CLASSES);
            held[i].p = take(h[by], held[i].cls);
            pattern_fill(held[i].p, hkm_class[held[i].cls].size, i);
        } else {
            expect(pattern_holds(held[i].p, hkm_class[held[i].cls].size, i));
            give(h[by], held[i].p);
            held[i].p = NULL;
        }
        if (round % 1000 == 0) {
            switch (random_below(&seed, 4)) {
            case 0: hkm_heap_flush(h[by]); break;
            case 1: hkm_heap_purge(h[by]); break;
            case 2: hkm_heap_drain(h[by]); break;
            default: hkm_superslab_purge(0);
            }
            for (size_t k = 0; k < COUNT_OF(h); k++)
                ck_assert(hkm_heap_valid(h[k]));
        }
    }
    for (size_t i = 0; i < COUNT; i++)
        if (held[i].p)
            give(h[i % 3], held[i].p);
    for (int twice = 0; twice < 2; twice++)
        for (size_t k = 0; k < COUNT_OF(h); k++)
            hkm_heap_flush(h[k]);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* ---- threads ----------------------------------------------------------------------------------------------------- */

enum { PLACES = 2000, THREADS = 4 };
static hkm_word places[PLACES];
static struct hkm_heap *heaps[THREADS];
static hkm_word wrong, over;

static void *exchange(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    struct hkm_heap *h = heaps[seed - 1];
    hkm_heap_assign(h, hkm_os_thread());
    for (int round = 0; round < 60000; round++) {
        unsigned cls = (unsigned)random_below(&seed, random_below(&seed, 8) ? 12 : HKM_CLASSES);
        char *p = take(h, cls);
        if (!p)
            return NULL;
        pattern_fill(p, hkm_class[cls].size, cls);
        p = (char *)hkm_swap(&places[random_below(&seed, PLACES)], (size_t)p);
        if (p) {
            struct hkm_slab *s = hkm_registry_slab(p);
            if (!pattern_holds(p, s->size, s->cls))
                hkm_add(&wrong, 1);
            memset(p, 0xee, s->size);
            give(h, p);
        }
    }
    hkm_heap_flush(h);
    hkm_add(&over, 1);
    return arg;
}

START_TEST(blocks_wander_between_threads)
{
    pthread_t threads[THREADS];
    start();
    for (int i = 0; i < THREADS; i++)
        heaps[i] = hkm_heap_new();
    for (int i = 0; i < THREADS; i++)
        threads[i] = unit_start(exchange, (void *)(uintptr_t)(i + 1));
    /* Meanwhile somebody else looks at the slab sides. */
    uint64_t seed = 99;
    while (hkm_load(&over) < THREADS) {
        struct hkm_heap *h = heaps[random_below(&seed, THREADS)];
        struct hak_stats s = { 0 };
        switch (random_below(&seed, 3)) {
        case 0: hkm_heap_drain(h); break;
        case 1: hkm_heap_purge(h); break;
        default: hkm_heap_stats(h, &s);
        }
        usleep(50);
    }
    for (int i = 0; i < THREADS; i++)
        ck_assert_ptr_nonnull(unit_join(threads[i]));
    ck_assert_uint_eq(hkm_load(&wrong), 0);
    for (int i = 0; i < THREADS; i++) {
        ck_assert(hkm_heap_valid(heaps[i]));
        ck_assert_uint_le(heaps[i]->nspare, HKM_SPARES);
    }
    struct hkm_heap *mine = new_heap();
    for (size_t i = 0; i < PLACES; i++)
        if (places[i])
            give(mine, (void *)places[i]);
    hkm_heap_flush(mine);
    for (int i = 0; i < THREADS; i++)
        hkm_heap_flush(heaps[i]);
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static struct unit_gate gate = UNIT_GATE;
static struct hkm_heap *dead;
static void *survivor;

static void *hold_lock(void *arg)
{
    struct hkm_heap *h = arg;
    hkm_lock(&h->lock);
    unit_reach(&gate, 1);
    unit_await(&gate, 2);
    hkm_unlock(&h->lock);
    return NULL;
}

static void use(struct hkm_heap *h)
{
    static void *p[3000];
    uint64_t seed = 5;
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = take(h, (unsigned)random_below(&seed, HKM_CLASSES));
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(h, p[i]);
    survivor = take(h, 7);
    memset(survivor, 7, hkm_class[7].size);
}

static void bury_quiet(void *arg)
{
    hkm_heap_assign(dead, 0);
    hkm_heap_bury(dead);
    CHILD(hkm_heap_valid(dead));
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        CHILD(cached(dead, c) == 0);
    CHILD(held_slots() == 1); /* what it cached came back; one block is out */
    CHILD(all_bytes(survivor, hkm_class[7].size, 7));
    struct hkm_heap *h = new_heap();
    give(h, survivor);
    hkm_heap_flush(h);
    hkm_heap_drain(dead);
    hkm_heap_purge(dead);
    CHILD(held_slots() == 0);
    (void)arg;
}

static void bury_caught(void *arg)
{
    CHILD(hkm_lock_abandoned(&dead->lock));
    dead->tiny[3].partial = (void *)1; /* its lists may be in any state */
    dead->tiny[3].full = (void *)1;
    dead->changing = dead->bin[4]; /* and so may the bin that is being changed */
    for (unsigned i = 0; i <= dead->bin[4]->places; i++)
        dead->bin[4]->slots[i] = (void *)1;
    dead->bin[4]->room = 10000;
    dead->bin[4]->first = (void *)1;
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++) /* and so may counts and links */
        if (hkm_tag_at(&hkm_range, i)->kind == HKM_KIND_SLAB) {
            hkm_slab_at(&hkm_range, i)->nfree = 3;
            hkm_slab_at(&hkm_range, i)->next = (void *)1;
            hkm_slab_at(&hkm_range, i)->listed = HKM_FULL;
        }
    size_t slots = held_slots();
    hkm_heap_assign(dead, 0);
    hkm_heap_bury(dead);
    CHILD(hkm_heap_valid(dead));
    CHILD(!hkm_lock_abandoned(&dead->lock));
    CHILD(held_slots() <= slots);
    CHILD(all_bytes(survivor, hkm_class[7].size, 7));
    hkm_heap_assign(dead, hkm_os_thread()); /* adopted */
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        void *p[50];
        for (unsigned i = 0; i < COUNT_OF(p); i++) {
            p[i] = take(dead, c);
            CHILD(p[i] && p[i] != survivor);
            memset(p[i], 1, hkm_class[c].size);
        }
        for (unsigned i = 0; i < COUNT_OF(p); i++)
            give(dead, p[i]);
    }
    CHILD(hkm_heap_valid(dead));
    CHILD(all_bytes(survivor, hkm_class[7].size, 7));
    give(dead, survivor);
    hkm_heap_flush(dead);
    (void)arg;
}

START_TEST(bury)
{
    start();
    hkm_generation_watch();
    dead = new_heap();
    use(dead);
    unit_passes(bury_quiet, NULL);
    pthread_t holder = unit_start(hold_lock, dead);
    unit_await(&gate, 1);
    unit_passes(bury_caught, NULL);
    unit_reach(&gate, 2);
    unit_join(holder);
    ck_assert(hkm_heap_valid(dead));
}
END_TEST

/* A fork after every instruction of what changes a cache.  A thread runs step by step, with the processor's trap flag;
 * after each step it waits until the main thread has forked.  The child finds all that the dead thread's heap had, but for
 * what is in the bin that was just being changed, and for blocks of the class that the thread was at. */
#ifdef __x86_64__
#define STEP_TESTS fork_after_each_step, fork_after_each_step_of_collecting,
enum { TRAP = 0x100 };
static struct {
    void (*work)(struct hkm_heap *h);
    sem_t stopped, go;
    bool over;
    void (*child)(void);
    unsigned cls, out, steps; /* its class, and another one of which blocks are out */
    void *kept[2 * HKM_CLASSES]; /* of all classes, blocks that are in use */
} step;

static void wait_for(sem_t *s)
{
    while (sem_wait(s))
        ;
}

static void trapped(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    (void)number, (void)info;
    if (step.over)
        c->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
    sem_post(&step.stopped);
    wait_for(&step.go);
}

static void *walk(void *arg)
{
    wait_for(&step.go);
    __builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP);
    step.work(dead);
    step.over = true;
    return arg;
}

/* A slab of the dead heap, of another class than the one that was being changed or those that have blocks out. */
static bool slab_left(unsigned changing)
{
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++) {
        const struct hkm_slab *s = hkm_slab_at(&hkm_range, i);
        if (hkm_load(&s->owner) == (size_t)dead && s->size && /* one without a size was being closed */
            s->cls != changing && s->cls != step.cls && s->cls != step.out)
            return true;
    }
    return false;
}

/* As purge.c does, at what the tags say is this heap's. */
static void look_at_all(struct hkm_heap *h)
{
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++) {
        struct hkm_slab *s = hkm_slab_at(&hkm_range, i);
        uint16_t young;
        if (hkm_tag_at(&hkm_range, i)->kind != HKM_KIND_SLAB || hkm_load(&s->owner) != (size_t)h)
            continue;
        CHILD(s->free && s->size == hkm_class[s->cls].size);
        CHILD(hkm_heap_try(h));
        (void)hkm_heap_look(h, s, 0, &young);
        hkm_heap_leave(h);
    }
}

static void child_of_step(void)
{
    unsigned changing = dead->changing ? dead->changing->tag.cls : HKM_CLASSES;
    struct hkm_heap *h = new_heap();
    alarm(20);
    hkm_heap_assign(dead, 0);
    hkm_heap_bury(dead);
    CHILD(hkm_heap_valid(dead) && !dead->changing);
    look_at_all(dead);
    for (unsigned i = 0; i < COUNT_OF(step.kept); i++) {
        CHILD(all_bytes(step.kept[i], hkm_class[i / 2].size, (unsigned char)i));
        give(h, step.kept[i]);
    }
    hkm_heap_flush_remote(h);
    hkm_heap_purge(dead);
    CHILD(!slab_left(changing));
    hkm_heap_assign(dead, hkm_os_thread()); /* adopted */
    size_t shares = 0;
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        struct hkm_bin *b = dead->bin[c];
        CHILD(b && b->cap && b->cap <= b->places && b->room == b->cap && !b->first && !b->slots[b->cap]);
        shares += b->cap > 2 ? b->cap * hkm_class[c].size : 0;
        CHILD(c >= HKM_TINY_CLASSES || dead->at[c] == b);
        for (unsigned i = 0; i < HKM_CAPS; i++)
            for (struct hkm_bin *old = dead->old[i]; old; old = old->slots[0])
                CHILD(old != b && (char *)old > (char *)dead && (char *)old < dead->bump);
    }
    CHILD(dead->allowed >= shares); /* nothing was given back to the budget twice */
    void *p[40];
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        memset(p[i] = take(dead, step.cls), (int)i, hkm_class[step.cls].size);
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        CHILD(all_bytes(p[i], hkm_class[step.cls].size, (unsigned char)i));
        give(dead, p[i]);
    }
    _exit(0);
}

/* Every `stride` steps of work(dead), of which there are more than `least`. */
static void step_more_than(unsigned least, void (*work)(struct hkm_heap *h), unsigned cls, unsigned stride)
{
    step.work = work;
    step.cls = cls;
    step.steps = 0;
    step.over = false;
    pthread_t thread = unit_start(walk, NULL);
    for (sem_post(&step.go); wait_for(&step.stopped), !step.over; sem_post(&step.go)) {
        if (step.steps++ % stride)
            continue;
        pid_t pid = fork();
        if (!pid)
            step.child();
        ck_assert_int_eq(unit_wait(pid), 0);
    }
    sem_post(&step.go);
    unit_join(thread);
    ck_assert_uint_gt(step.steps, least);
    ck_assert(hkm_heap_valid(dead));
}
static void step_through(void (*work)(struct hkm_heap *h), unsigned cls, unsigned stride)
{
    step_more_than(100, work, cls, stride);
}

/* What the child takes for zero pages is zero. */
static void child_of_collect(void)
{
    alarm(20);
    hkm_heap_assign(dead, 0);
    hkm_heap_bury(dead);
    for (size_t i = 0; i < hkm_load(&hkm_range.used); i++) {
        const struct hkm_slab *s = hkm_slab_at(&hkm_range, i);
        size_t page = hkm_os.page;
        for (size_t at = 0; s->start && at < HKM_SLOT_SIZE; at += page)
            CHILD(!(s->zero & hkm_pages_of(at, at + page)) || s->backing != HKM_PLAIN ||
                  hkm_load(&s->owner) || all_bytes(s->start + at, page, 0));
    }
    _exit(0);
}

static void take_one(struct hkm_heap *h) { (void)take(h, step.cls); }
static void step_pop(unsigned cls) { step_more_than(20, take_one, cls, 1); }
static void give_one(struct hkm_heap *h) { give(h, survivor); }

/* Leaves one free place in the bin, and a block for it. */
static void nearly_fill(unsigned cls)
{
    static void *p[600];
    unsigned n = 0;
    while (n <= dead->bin[cls]->cap) {
        dead->bin[cls]->misses = 0;
        p[n++] = take(dead, cls);
    }
    while (dead->bin[cls]->room > 1)
        give(dead, p[--n]);
    survivor = p[--n];
    dead->bin[cls]->misses = 0;
}
static void take_all(unsigned cls)
{
    while (cached(dead, cls))
        (void)take(dead, cls);
}

static void use_all_classes(void)
{
    dead = new_heap();
    step.child = child_of_step;
    step.out = HKM_CLASSES;
    for (unsigned i = 0; i < COUNT_OF(step.kept); i++) {
        step.kept[i] = take(dead, i / 2);
        memset(step.kept[i], (int)i, hkm_class[i / 2].size);
        give(dead, take(dead, i / 2));
    }
}

static void start_stepping(void)
{
    hkm_generation_watch();
    struct sigaction act = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
    ck_assert_int_eq(sigaction(SIGTRAP, &act, NULL), 0);
    sem_init(&step.stopped, 0, 0);
    sem_init(&step.go, 0, 0);
}

/* Blocks of pages that another thread has written and freed are collected. */
START_TEST(fork_after_each_step_of_collecting)
{
    if (EMULATED || SANITIZED)
        return;
    start();
    start_stepping();
    unsigned cls = hkm_class_of(8192);
    void *p[16];
    struct hkm_heap *other = new_heap();
    dead = new_heap();
    step.child = child_of_collect;
    step.out = HKM_CLASSES;
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        memset(p[i] = take(dead, cls), 0xff, hkm_class[cls].size);
    take_all(cls);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(other, p[i]);
    hkm_heap_flush_remote(other);
    step_through(take_one, cls, 1);
}
END_TEST

START_TEST(fork_after_each_step)
{
    if (EMULATED || SANITIZED)
        return;
    start();
    start_stepping();
    use_all_classes();
    unsigned cls = hkm_class_of(512), idle = hkm_class_of(900);
    struct hkm_bin **bin = &dead->bin[cls];

    take_all(cls);
    step_through(take_one, cls, 1); /* a refill */
    take_all(cls);
    (*bin)->misses = 1000;
    step_through(take_one, cls, 1); /* a larger bin, empty */
    ck_assert_uint_eq((*bin)->cap, 29);

    nearly_fill(cls);
    step_through(give_one, cls, 1); /* a flush */
    ck_assert_uint_eq((*bin)->cap, 29);
    nearly_fill(cls);
    (*bin)->misses = 1000;
    step_through(give_one, cls, 1); /* a larger bin, full */
    ck_assert_uint_eq((*bin)->cap, 125);

    void *p[6], *q[30];
    unsigned n = 0;
    take_all(cls);
    while (n < 3)
        p[n++] = take(dead, cls);
    step_pop(cls); /* of the first block, */
    while (cached(dead, cls) > 1)
        (void)take(dead, cls);
    step_pop(cls); /* which is the last one */
    while (n)
        give(dead, p[--n]);
    step_pop(cls); /* where there is no first one */
    ck_assert_ptr_nonnull((*bin)->first);
    take_all(cls);
    give(dead, take(dead, cls));
    take_all(cls);
    p[0] = take(dead, cls);
    take_all(cls);
    give(dead, p[0]);
    step_pop(cls); /* and of one block alone */
    ck_assert_uint_eq(cached(dead, cls), 0);

    while (cached(dead, idle))
        p[n++] = take(dead, idle);
    dead->bin[idle]->misses = 1000;
    p[n++] = take(dead, idle);
    while (n)
        give(dead, p[--n]);
    ck_assert_uint_eq(dead->bin[idle]->cap, 29);
    dead->bin[idle]->seen_misses = dead->bin[idle]->misses;
    dead->bin[idle]->seen_room = dead->bin[idle]->room;
    dead->events = HKM_POLICY_AGE_EVENTS * idle - 1;
    take_all(cls);
    step_through(take_one, cls, 1); /* another bin is emptied, and made smaller */
    ck_assert_uint_eq(dead->bin[idle]->cap, 5);
    dead->bin[idle]->misses = 1000;
    step.out = cls;
    step_through(take_one, idle, 1); /* and larger in its place */
    ck_assert_uint_eq(dead->bin[idle]->cap, 29);

    use_all_classes();
    step_through(hkm_heap_flush, HKM_CLASSES - 1, 29); /* all of them emptied */

    use_all_classes();
    hkm_heap_flush(dead);
    cls = hkm_class_of(16384); /* more slabs than become spares */
    for (unsigned i = 0; i < COUNT_OF(q); i++)
        q[i] = take(dead, cls);
    for (unsigned i = 0; i < COUNT_OF(q); i++)
        give(dead, q[i]);
    step_through(hkm_heap_flush, cls, 3); /* slabs are given back */

    use_all_classes();
    drive(dead, idle);
    hkm_heap_flush(dead);
    ck_assert_uint_eq(dead->bin[idle]->cap, hkm_class[idle].most);
    hkm_heap_assign(dead, 0);
    step_through(hkm_heap_flush, idle, 2); /* the large cache of a parked heap is cut */
    ck_assert_uint_eq(dead->bin[idle]->cap, 29);
}
END_TEST
#else
#define STEP_TESTS
#endif

/* Slabs that turn out to be without blocks when the lists are made afresh must not get lost. */
static void bury_empty_slabs(void *arg)
{
    hkm_heap_assign(dead, 0);
    hkm_heap_bury(dead);
    CHILD(hkm_heap_valid(dead));
    CHILD(held_slots() == 0);
    (void)arg;
}

START_TEST(nothing_is_lost_in_rebuilding)
{
    static void *p[4000];
    start();
    hkm_generation_watch();
    dead = new_heap();
    struct hkm_heap *other = new_heap();
    unsigned cls = hkm_class_of(1024), n = 0;
    while (n < 6 * hkm_class[cls].blocks)
        p[n++] = take(dead, cls);
    while (cached(dead, cls))
        p[n++] = take(dead, cls);
    ck_assert_uint_eq(dead->nspare, 0);
    for (unsigned i = 0; i < n; i++)
        give(other, p[i]);
    hkm_heap_flush_remote(other); /* all freed, none collected */
    pthread_t holder = unit_start(hold_lock, dead);
    unit_await(&gate, 1);
    unit_passes(bury_empty_slabs, NULL);
    unit_reach(&gate, 2);
    unit_join(holder);
}
END_TEST

/* A thread that was about to post a slab is gone in the child: the slab says that it is posted, and is in no inbox. */
static struct {
    struct hkm_heap *h, *other;
    void *p[20], *q[20];      /* of two slabs, the second one is in the inbox */
    struct hkm_slab *half, *whole;
} posts;

static void begin_posts(void)
{
    unsigned cls = hkm_class_of(1000);
    posts.h = new_heap();
    posts.other = new_heap();
    for (unsigned i = 0; i < COUNT_OF(posts.p); i++)
        posts.p[i] = take(posts.h, cls);
    posts.half = hkm_registry_slab(posts.p[0]);
    do
        posts.q[0] = take(posts.h, cls);
    while (hkm_registry_slab(posts.q[0]) == posts.half);
    posts.whole = hkm_registry_slab(posts.q[0]);
    for (unsigned i = 1; i < COUNT_OF(posts.q); i++)
        posts.q[i] = take(posts.h, cls);
    hkm_heap_flush(posts.h);
    hkm_slab_remote(posts.half, posts.p[0]);
    hkm_swap(&posts.half->pending, 1);
    hkm_slab_remote(posts.whole, posts.q[0]);
    hkm_heap_post(posts.whole);
}

static unsigned inbox_length(struct hkm_heap *h)
{
    unsigned n = 0;
    for (struct hkm_slab *s = (struct hkm_slab *)hkm_load(&h->inbox); s && n < 100;
         s = (struct hkm_slab *)hkm_load(&s->inbox_next))
        n++;
    return n;
}

static void free_in_child(void *arg)
{
    unsigned half = posts.half->nfree, whole = posts.whole->nfree;
    (void)arg;
    CHILD(hkm_generation() == 1);
    for (unsigned i = 1; i < COUNT_OF(posts.p); i++) {
        give(posts.other, posts.q[i]);
        give(posts.other, posts.p[i]);
        hkm_heap_flush_remote(posts.other);
        CHILD(inbox_length(posts.h) == 2); /* each of them once */
    }
    hkm_heap_drain(posts.h);
    CHILD(inbox_length(posts.h) == 0);
    CHILD(posts.half->nfree == half + COUNT_OF(posts.p));
    CHILD(posts.whole->nfree == whole + COUNT_OF(posts.q));
    CHILD(hkm_heap_valid(posts.h));
}
static void purge_in_child(void *arg)
{
    unsigned half = posts.half->nfree;
    hkm_heap_purge(posts.h); /* nobody frees a block of that slab again: then this finds it */
    CHILD(posts.half->nfree == half + 1);
    CHILD(hkm_heap_valid(posts.h));
    (void)arg;
}
/* A slab posted before the fork, drained in the child; then a child of that one. */
static void drain_in_child(void *arg)
{
    unsigned whole = posts.whole->nfree;
    hkm_heap_drain(posts.h);
    CHILD(posts.whole->nfree == whole + 1);
    give(posts.other, posts.q[1]);
    hkm_heap_flush_remote(posts.other);
    CHILD(inbox_length(posts.h) == 1);
    pid_t pid = fork();
    if (!pid) {
        alarm(20);
        give(posts.other, posts.q[2]);
        hkm_heap_flush_remote(posts.other);
        CHILD(inbox_length(posts.h) == 1);
        hkm_heap_drain(posts.h);
        CHILD(posts.whole->nfree == whole + 3);
        _exit(0);
    }
    int status = 1;
    CHILD(waitpid(pid, &status, 0) == pid && status == 0);
    (void)arg;
}

START_TEST(post_that_a_fork_cut_off)
{
    start();
    hkm_generation_watch();
    begin_posts();
    unit_passes(free_in_child, NULL);
    unit_passes(purge_in_child, NULL);
    unit_passes(drain_in_child, NULL);
}
END_TEST

/* What a dead thread had in its remote buffer is free. */
static void bury_remote(void *arg)
{
    hkm_heap_assign(posts.other, 0);
    hkm_heap_bury(posts.other);
    hkm_heap_drain(posts.h);
    hkm_heap_flush(posts.h);
    CHILD(held_slots() == 0);
    (void)arg;
}

START_TEST(remote_buffer_of_the_dead)
{
    start();
    hkm_generation_watch();
    posts.h = new_heap();
    posts.other = new_heap();
    void *p[HKM_REMOTE - 1];
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = take(posts.h, 3);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(posts.other, p[i]);
    unit_passes(bury_remote, NULL);
}
END_TEST

/* A fork that comes while a bin is being moved: some slabs still bear the old one's tag. */
static void rebuild_tags(void *arg)
{
    struct hkm_slab *s = arg;
    hkm_tag_set(s->range, hkm_slab_slot(s), &posts.other->bin[s->cls]->tag);
    hkm_heap_drain(dead);
    CHILD(hkm_tag_at(s->range, hkm_slab_slot(s)) == &dead->bin[s->cls]->tag);
    CHILD(hkm_heap_valid(dead));
}

START_TEST(rebuilding_sets_tags)
{
    start();
    hkm_generation_watch();
    dead = new_heap();
    posts.other = new_heap();
    void *p = take(dead, 5);
    give(posts.other, take(posts.other, 5));
    pthread_t holder = unit_start(hold_lock, dead);
    unit_await(&gate, 1);
    unit_passes(rebuild_tags, hkm_registry_slab(p));
    unit_reach(&gate, 2);
    unit_join(holder);
}
END_TEST

static size_t fresh_slots(void)
{
    return hkm_load(&hkm_superslab_stats.mapped) - held_slots() - hkm_load(&hkm_superslab_stats.dirty);
}

/* A slab takes the place of runs that wait in the cache, rather than one that nobody has touched. */
START_TEST(cached_runs_before_fresh_slots)
{
    struct hkm_slab *s[40];
    unsigned n = 0;
    start();
    struct hkm_heap *h = new_heap();
    for (; n < COUNT_OF(s); n++)
        ck_assert_ptr_nonnull(s[n] = hkm_registry_slab(hkm_mid_alloc(2 * HKM_SLOT_SIZE, 16, false, NULL)));
    while (n--)
        if (!hkm_mid_push(&h->runs, s[n]) && !hkm_heap_keep_run(h, s[n]))
            hkm_mid_free(s[n]);
    ck_assert_uint_gt(hkm_mid_held(&h->runs), 0);
    while (hkm_shared_pool_reuse(s, 1))
        ;
    if (!fresh_slots())
        ck_assert(hkm_shared_pool_grow());
    size_t fresh = fresh_slots();
    ck_assert(fresh && hkm_heap_supply(h, 5));
    ck_assert_uint_eq(hkm_mid_held(&h->runs), 0);
    ck_assert_uint_eq(fresh_slots(), fresh);
}
END_TEST

static void run_out(void *arg)
{
    struct hkm_heap *h = new_heap();
    (void)arg;
    unit_limit(8 * MIB);
    unsigned n = 0;
    while (take(h, HKM_CLASSES - 1))
        CHILD(++n < 1000);
    CHILD(n > 10);
    CHILD(take(h, HKM_CLASSES - 1) == NULL);
    CHILD(hkm_heap_valid(h));
    unsigned made = 0;
    while (hkm_heap_new())
        CHILD(++made < 1000);
    unit_unlimit();
    CHILD(take(h, HKM_CLASSES - 1) != NULL && take(h, 0) != NULL);
    CHILD(hkm_heap_new() != NULL);
    CHILD(hkm_heap_valid(h));
}

START_TEST(out_of_memory)
{
    start();
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
}
END_TEST

UNIT_MAIN("heap", CK_FORK, empty_heap, sizes_find_their_bins, every_cache_reaches_its_most, all_caches_have_room,
          caches_share_a_budget, idle_caches_are_emptied, caches_of_a_parked_heap, caches_of_a_shrinking_heap,
          growth_keeps_what_is_cached, pops_and_pushes, flush_gives_the_oldest,
          slabs_go_back_to_the_pool, remote_frees_come_in_batches, remote_buffer_is_bounded_in_bytes,
          remote_buffer_is_bounded_in_places, remote_double_free, late_posts_find_the_new_owner,
          posts_for_nobody_are_dropped, claim_from_a_parked_heap, claimed_slab_is_emptied_at_once,
          purge_gives_free_pages_back, faulted_in_ahead, faulted_in_where_all_is_written, stats_add_up, random_work, blocks_wander_between_threads, bury, STEP_TESTS
          nothing_is_lost_in_rebuilding, post_that_a_fork_cut_off, remote_buffer_of_the_dead, rebuilding_sets_tags,
          cached_runs_before_fresh_slots, out_of_memory)
