/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_thread.c: birth, death and adoption of heaps, frees after the last destructor, the order of refill, fork.
 */
#include "thread.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

static void start(void)
{
    hkm_os_init();
    SET_OPTION(disable_purge, 1);
}

static size_t held_slots(void) { return hkm_load(&hkm_superslab_stats.taken); }

/* The ways of malloc and free, without alloc.c. */
static void *take(unsigned cls)
{
    struct hkm_heap *h = hkm_thread_begin();
    if (!h)
        return NULL;
    struct hkm_bin *b = h->bin[cls];
    void *p = b ? hkm_bin_take(b) : NULL;
    if (!p)
        p = hkm_thread_refill(h, cls);
    hkm_thread_end(h);
    return (void *)((uintptr_t)p & ~HKM_ZERO);
}
static void give(void *p)
{
    struct hkm_slab *s = hkm_registry_slab(p);
    struct hkm_heap *h = hkm_thread_own();
    if (!h || hkm_load(&s->owner) != (size_t)h) {
        hkm_thread_free_remote(p, s);
        return;
    }
    struct hkm_bin *b = h->bin[s->cls];
    b->slots[--b->room] = p;
    if (!b->room)
        hkm_heap_full(b);
}
static struct hkm_heap *owner(void *p) { return (struct hkm_heap *)hkm_load(&hkm_registry_slab(p)->owner); }

static void count_heap(struct hkm_heap *h, void *arg)
{
    expect(hkm_heap_valid(h));
    ++*(size_t *)arg;
}
static size_t heaps_there_are(void)
{
    size_t n = 0;
    hkm_thread_each(count_heap, &n);
    return n;
}

/* ---- birth and death --------------------------------------------------------------------------------------------- */

START_TEST(birth_on_first_use)
{
    start();
    ck_assert_ptr_null(hkm_thread_own());
    ck_assert_uint_eq(hkm_tls.below, 0); /* no size is below it */
    ck_assert_uint_eq(hkm_thread_heaps(), 0);
    struct hkm_heap *h = hkm_thread_begin();
    ck_assert_ptr_nonnull(h);
    hkm_thread_end(h);
    ck_assert_ptr_eq(hkm_thread_own(), h);
    ck_assert_uint_eq(hkm_tls.below, HKM_TINY_MAX + 1);
    ck_assert_ptr_eq(hkm_thread_begin(), h);
    ck_assert_uint_eq(hkm_load(&h->thread), hkm_os_thread());
    ck_assert_uint_eq(hkm_thread_heaps(), 1);
    ck_assert_uint_eq(hkm_thread_parked(), 0);
    ck_assert_uint_eq(heaps_there_are(), 1);
    /* TLS was set up afresh after the first heap was made: the heap is still this thread's. */
    memset(&hkm_tls, 0, sizeof hkm_tls);
    ck_assert_ptr_eq(hkm_thread_begin(), h);
    ck_assert_uint_eq(hkm_thread_heaps(), 1);
    /* A signal handler allocates between the two words, at the birth of a heap or at the end of its thread. */
    hkm_tls.below = 0;
    ck_assert_ptr_eq(hkm_thread_begin(), h);
    ck_assert_ptr_eq(hkm_tls.heap, h);
    ck_assert_uint_eq(hkm_thread_heaps(), 1);
}
END_TEST

static void *my_heap(void *arg)
{
    struct hkm_heap *h = hkm_thread_begin();
    hkm_thread_end(h);
    give(take(3));
    (void)arg;
    return h;
}

START_TEST(heaps_are_adopted)
{
    start();
    struct hkm_heap *mine = my_heap(NULL), *h = unit_join(unit_start(my_heap, NULL));
    ck_assert_ptr_ne(h, mine);
    ck_assert_uint_eq(hkm_thread_parked(), 1);
    ck_assert_uint_eq(hkm_load(&h->thread), 0);
    for (int i = 0; i < 20; i++)
        ck_assert_ptr_eq(unit_join(unit_start(my_heap, NULL)), h);
    ck_assert_uint_eq(hkm_thread_heaps(), 2);
    ck_assert_uint_eq(hkm_thread_parked(), 1);
    ck_assert_uint_eq(heaps_there_are(), 2);
}
END_TEST

static struct unit_gate gates[20];

static void *live_until_told(void *arg)
{
    struct unit_gate *g = arg;
    struct hkm_heap *h = my_heap(NULL);
    void *p = take(3);
    unit_reach(g, 1);
    unit_await(g, 2);
    give(p);
    return h;
}

static pthread_t start_one(struct unit_gate *g)
{
    pthread_mutex_init(&g->mutex, NULL);
    pthread_cond_init(&g->moved, NULL);
    g->step = 0;
    pthread_t thread = unit_start(live_until_told, g);
    unit_await(g, 1);
    return thread;
}
static struct hkm_heap *end_one(struct unit_gate *g, pthread_t thread)
{
    unit_reach(g, 2);
    return unit_join(thread);
}

START_TEST(last_parked_first_adopted)
{
    pthread_t threads[5];
    struct hkm_heap *h[5];
    start();
    for (int i = 0; i < 5; i++)
        threads[i] = start_one(&gates[i]);
    ck_assert_uint_eq(hkm_thread_heaps(), 5);
    for (int i = 0; i < 5; i++) {
        h[i] = end_one(&gates[i], threads[i]);
        ck_assert_uint_eq(hkm_thread_parked(), (size_t)i + 1);
        for (int j = 0; j < i; j++)
            ck_assert_ptr_ne(h[i], h[j]);
    }
    for (int i = 0; i < 5; i++)
        threads[i] = start_one(&gates[i]);
    ck_assert_uint_eq(hkm_thread_parked(), 0);
    for (int i = 0; i < 5; i++)
        ck_assert_ptr_eq(end_one(&gates[i], threads[i]), h[4 - i]);
    ck_assert_uint_eq(hkm_thread_heaps(), 5);
}
END_TEST

static void *left_behind[100];

static void *leave_blocks(void *arg)
{
    for (unsigned i = 0; i < COUNT_OF(left_behind); i++) {
        unsigned cls = i % HKM_CLASSES;
        give(take(cls));
        left_behind[i] = take(cls);
        pattern_fill(left_behind[i], hkm_class[cls].size, i);
    }
    (void)arg;
    return hkm_thread_own();
}

START_TEST(death_empties_the_cache)
{
    start();
    struct hkm_heap *h = unit_join(unit_start(leave_blocks, NULL));
    ck_assert_uint_eq(hkm_thread_parked(), 1);
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        ck_assert(!h->bin[c] || h->bin[c]->room == h->bin[c]->cap);
    ck_assert_uint_eq(h->nspare, 0);
    ck_assert(hkm_heap_valid(h));
    /* Its blocks live on, and others may free them. */
    for (unsigned i = 0; i < COUNT_OF(left_behind); i++) {
        ck_assert(pattern_holds(left_behind[i], hkm_class[i % HKM_CLASSES].size, i));
        give(left_behind[i]);
    }
    ck_assert_ptr_nonnull(hkm_thread_own()); /* for the buffer of remote frees */
    hkm_thread_purge();
    ck_assert_uint_eq(held_slots(), 0);
}
END_TEST

/* ---- destructors ------------------------------------------------------------------------------------------------- */

static pthread_key_t early;
static int rounds;
static struct {
    struct hkm_heap *own;
    void *p;
} seen[8];

/* In every round that there is: takes a block, frees the one of the round before. */
static void destroy(void *arg)
{
    seen[rounds].p = take(5);
    memset(seen[rounds].p, rounds, hkm_class[5].size);
    seen[rounds].own = hkm_thread_own();
    if (rounds && all_bytes(seen[rounds - 1].p, hkm_class[5].size, (unsigned char)(rounds - 1)))
        give(seen[rounds - 1].p);
    rounds++;
    pthread_setspecific(early, arg);
}

static void *die_slowly(void *arg)
{
    pthread_setspecific(early, arg);
    give(take(5));
    return hkm_thread_own();
}

/* A thread that gets its heap in the destructors, in whichever round. */
static int wanted_round;
static __thread int my_round;

static void first_use(void *arg)
{
    if (++my_round == wanted_round) {
        void *p = take(5);
        memset(p, 7, hkm_class[5].size);
        give(p);
        *(struct hkm_heap **)arg = hkm_thread_own();
    } else {
        pthread_setspecific(early, arg);
    }
}
static void *die_at_once(void *arg)
{
    pthread_setspecific(early, arg);
    return NULL;
}

static void first_use_in_round(int round)
{
    struct hkm_heap *h = NULL, *first = NULL;
    wanted_round = round;
    for (int i = 0; i < 50; i++) {
        h = NULL;
        unit_join(unit_start(die_at_once, &h));
        ck_assert_ptr_nonnull(h);
        if (!first)
            first = h;
        ck_assert_ptr_eq(h, first); /* the next one finds it, parked or not */
        ck_assert_ptr_ne(h, hkm_thread_own());
    }
    ck_assert_uint_eq(hkm_thread_heaps(), hkm_thread_own() ? 2 : 1);
    ck_assert(hkm_heap_valid(h));
}

START_TEST(first_use_in_a_destructor)
{
    start();
    ck_assert_int_eq(pthread_key_create(&early, first_use), 0);
    for (int round = 1; round <= 4; round++) {
        first_use_in_round(round);
        ck_assert_uint_eq(hkm_thread_parked(), 1);
    }
}
END_TEST

/* The same with the library's key first, as it is in most programs: in the last round nobody comes for the heap. */
START_TEST(first_use_in_a_later_destructor)
{
    start();
    give(take(5));
    ck_assert_int_eq(pthread_key_create(&early, first_use), 0);
    for (int round = 1; round <= 4; round++) {
        first_use_in_round(round);
        ck_assert_uint_eq(hkm_thread_parked(), round < 4);
    }
}
END_TEST

/* Threads that end without a word: the library hears of it when their address comes again. */
static void *end_silently(void *arg)
{
    give(take(5));
    *(struct hkm_heap **)arg = hkm_thread_own();
    memset(&hkm_tls, 0, sizeof hkm_tls); /* as for another thread at the same address */
    give(take(5));
    return hkm_thread_own() == *(struct hkm_heap **)arg ? arg : NULL;
}

START_TEST(heap_of_a_thread_that_vanished)
{
    struct hkm_heap *h = NULL;
    start();
    give(take(5));
    for (int i = 0; i < 10; i++)
        ck_assert_ptr_nonnull(unit_join(unit_start(end_silently, &h)));
    ck_assert_uint_eq(hkm_thread_heaps(), 2);
    ck_assert_uint_eq(hkm_thread_parked(), 1);
}
END_TEST

static void *die_late(void *arg)
{
    hkm_tls = (struct hkm_tls){ HKM_LATE, 0 }; /* as in the last of many destructors */
    void *p = take(9), *q = take(70);
    memset(p, 7, hkm_class[9].size);
    memset(q, 7, hkm_class[70].size);
    *(void **)arg = owner(p);
    give(q);
    give(take(9));
    return hkm_thread_own() ? NULL : p;
}

START_TEST(destructors_may_allocate)
{
    start();
    ck_assert_int_eq(pthread_key_create(&early, destroy), 0); /* before the library's: it comes first in every round */
    int token;
    struct hkm_heap *h = unit_join(unit_start(die_slowly, &token));
    ck_assert_int_ge(rounds, 4);
    ck_assert_ptr_eq(seen[0].own, h);
    for (int i = 1; i < rounds; i++)
        ck_assert_ptr_null(seen[i].own); /* it has been given up in the first round */
    struct hkm_heap *late = owner(seen[rounds - 1].p);
    ck_assert_ptr_ne(late, h);
    ck_assert_uint_eq(hkm_load(&late->thread), 0);
    ck_assert_uint_eq(hkm_thread_parked(), 1); /* the late heap is not parked */
    ck_assert_uint_eq(hkm_thread_heaps(), 2);
    ck_assert(all_bytes(seen[rounds - 1].p, hkm_class[5].size, (unsigned char)(rounds - 1)));
    give(seen[rounds - 1].p);
    ck_assert_ptr_eq(hkm_thread_own(), h); /* this thread adopted it */
    ck_assert_ptr_ne(hkm_thread_own(), late);
}
END_TEST

START_TEST(late_heap_is_shared)
{
    void *late[3], *p[3];
    start();
    for (int i = 0; i < 3; i++) {
        p[i] = unit_join(unit_start(die_late, &late[i]));
        ck_assert_ptr_nonnull(p[i]);
        ck_assert_ptr_eq(late[i], late[0]);
        for (int j = 0; j < i; j++)
            ck_assert_ptr_ne(p[i], p[j]);
    }
    ck_assert_uint_eq(hkm_thread_heaps(), 1);
    ck_assert_uint_eq(hkm_thread_parked(), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert(all_bytes(p[i], hkm_class[9].size, 7));
        give(p[i]);
    }
    ck_assert_uint_eq(heaps_there_are(), 2);
    ck_assert_ptr_ne(hkm_thread_own(), late[0]);
}
END_TEST

/* ---- the order of refill ----------------------------------------------------------------------------------------- */

START_TEST(parked_heaps_before_the_pool)
{
    start();
    unsigned cls = hkm_class_of(1000);
    give(take(cls));
    while (hkm_thread_own()->tiny[cls].partial || hkm_thread_own()->bin[cls]->room < hkm_thread_own()->bin[cls]->cap)
        (void)take(cls);
    pthread_t thread = start_one(&gates[0]);
    struct hkm_heap *h = end_one(&gates[0], thread);
    /* The parked heap has a slab of this class with a block out. */
    hkm_heap_assign(h, hkm_os_thread());
    while (!hkm_heap_refill(h, cls))
        ck_assert(hkm_heap_supply(h, cls));
    hkm_heap_flush_remote(h);
    struct hkm_slab *s = h->tiny[cls].partial;
    ck_assert_ptr_nonnull(s);
    struct hkm_bin *b = h->bin[cls];
    void *out = hkm_bin_take(b);
    hkm_heap_flush(h);
    hkm_heap_assign(h, 0);
    ck_assert_ptr_eq(owner(out), h);
    size_t slots = held_slots();
    void *p = take(cls);
    ck_assert_ptr_eq(hkm_registry_slab(p), s);
    ck_assert_ptr_eq(owner(p), hkm_thread_own());
    ck_assert_uint_eq(held_slots(), slots);
    give(out);
    ck_assert_uint_eq(hkm_thread_own()->nremote, 0); /* it is an own block now */
}
END_TEST

START_TEST(used_slots_before_fresh_ones)
{
    static void *p[600];
    start();
    unsigned cls = hkm_class_of(8192);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        memset(p[i] = take(cls), 7, 8192);
    size_t mapped = hkm_load(&hkm_superslab_stats.mapped);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(p[i]);
    hkm_heap_flush(hkm_thread_own());
    ck_assert_uint_eq(held_slots(), 0);
    size_t dirty = hkm_load(&hkm_superslab_stats.dirty);
    ck_assert_uint_ge(dirty, COUNT_OF(p) / hkm_class[cls].blocks);
    unsigned other = hkm_class_of(16384); /* another class, the same slots */
    for (unsigned i = 0; i < dirty; i++)
        ck_assert_ptr_nonnull(take(other));
    ck_assert_uint_lt(hkm_load(&hkm_superslab_stats.dirty), dirty);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.mapped), mapped);
}
END_TEST

/* More parked heaps than a refill looks at, none of which has anything.  Whoever holds the lock of one of them keeps
   it. */
static struct hkm_heap *locked;

static void *hold_lock(void *arg)
{
    struct unit_gate *g = arg;
    hkm_lock(&locked->lock);
    unit_reach(g, 1);
    unit_await(g, 2);
    size_t word = hkm_load(&locked->lock.word);
    if (word)
        hkm_unlock(&locked->lock);
    return word ? arg : NULL;
}

START_TEST(many_parked_heaps)
{
    pthread_t threads[20];
    struct hkm_heap *h[20];
    start();
    give(take(0));
    for (int i = 0; i < 20; i++)
        threads[i] = start_one(&gates[i]);
    for (int i = 0; i < 20; i++)
        h[i] = end_one(&gates[i], threads[i]);
    hkm_thread_purge();
    ck_assert_uint_eq(hkm_thread_parked(), 20);
    for (int i = 0; i < 20; i++) {
        struct unit_gate g = UNIT_GATE;
        locked = h[i];
        pthread_t holder = unit_start(hold_lock, &g);
        unit_await(&g, 1);
        ck_assert_ptr_nonnull(take(10 + (unsigned)i)); /* a class that nobody has */
        unit_reach(&g, 2);
        ck_assert_msg(unit_join(holder) != NULL, "heap %d was unlocked by somebody who did not hold it", i);
    }
}
END_TEST

START_TEST(purge_gives_all_back)
{
    static void *p[3000];
    uint64_t seed = 1;
    start();
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        memset(p[i] = take((unsigned)random_below(&seed, HKM_CLASSES)), 7, 16);
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(p[i]);
    unit_join(unit_start(my_heap, NULL));
    ck_assert_uint_gt(hkm_thread_purge(), 0);
    ck_assert_uint_eq(held_slots(), 0);
    ck_assert_uint_eq(hkm_load(&hkm_superslab_stats.dirty), 0);
    ck_assert_uint_eq(hkm_thread_purge(), 0);
    ck_assert_ptr_nonnull(take(3));
}
END_TEST

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void *live_and_hold(void *arg)
{
    struct unit_gate *g = arg;
    (void)leave_blocks(NULL);
    struct hkm_heap *h = hkm_thread_own();
    if (locked)
        hkm_lock(&h->lock);
    unit_reach(g, 1);
    unit_await(g, 2);
    if (locked)
        hkm_unlock(&h->lock);
    return h;
}

static void *adopt_in_child(void *arg)
{
    (void)arg;
    return my_heap(NULL);
}

static struct hkm_tag *tag_of(void *p)
{
    struct hkm_slab *s = hkm_registry_slab(p);
    return hkm_tag_at(s->range, hkm_slab_slot(s));
}

/* Until the child does something that needs it, nothing of the dead threads' heaps is touched; and no free comes to a bin
 * before that. */
static void child_is_lazy(void)
{
    if (HKM_LOADS_IN_ORDER) {
        CHILD(!hkm_registry_is_open() && !hkm_load(&hkm_range.open));
        CHILD(hkm_load(&tag_of(left_behind[0])->thread) != 0);
    }
    hkm_thread_open();
    CHILD(hkm_registry_is_open() && hkm_load(&hkm_range.open) != 0);
}

static void child_of_many(void *arg)
{
    child_is_lazy();
    struct hkm_heap *mine = hkm_thread_own();
    size_t heaps = hkm_thread_heaps();
    void *kept = arg;
    CHILD(hkm_generation() == 1);
    CHILD(all_bytes(kept, hkm_class[7].size, 7));
    for (unsigned i = 0; i < COUNT_OF(left_behind); i++) { /* what the dead thread had is whole */
        CHILD(pattern_holds(left_behind[i], hkm_class[i % HKM_CLASSES].size, i));
        CHILD(owner(left_behind[i]) != mine);
        CHILD(hkm_load(&tag_of(left_behind[i])->thread) == 0);
    }
    for (unsigned c = 0; c < HKM_CLASSES; c++) {
        void *p = take(c);
        CHILD(p != NULL);
        memset(p, 1, hkm_class[c].size);
        give(p);
    }
    CHILD(hkm_thread_own() == mine);
    for (unsigned i = 0; i < COUNT_OF(left_behind); i++)
        give(left_behind[i]);
    give(kept);
    hkm_thread_purge(); /* this buries the dead */
    CHILD(hkm_thread_parked() == heaps - 1);
    CHILD(heaps_there_are() == heaps);
    CHILD(hkm_thread_heaps() == heaps);
    CHILD(held_slots() == 0); /* what it had cached is free, too: it was not changing it when its lock was taken */
    pthread_t thread;
    void *adopted = NULL;
    if (EMULATED) /* it cannot start threads here */
        return;
    CHILD(pthread_create(&thread, NULL, adopt_in_child, NULL) == 0 && pthread_join(thread, &adopted) == 0);
    CHILD(adopted != mine && hkm_thread_heaps() == heaps);
}

static void fork_beside_another(void)
{
    struct unit_gate g = UNIT_GATE;
    start();
    void *kept = take(7);
    memset(kept, 7, hkm_class[7].size);
    pthread_t thread = unit_start(live_and_hold, &g);
    unit_await(&g, 1);
    unit_passes(child_of_many, kept);
    ck_assert_uint_eq(hkm_thread_parked(), 0); /* all that was the child's affair */
    unit_reach(&g, 2);
    struct hkm_heap *h = unit_join(thread);
    ck_assert(hkm_heap_valid(h) && hkm_heap_valid(hkm_thread_own()));
    for (unsigned i = 0; i < COUNT_OF(left_behind); i++) {
        ck_assert(pattern_holds(left_behind[i], hkm_class[i % HKM_CLASSES].size, i));
        give(left_behind[i]);
    }
    give(kept);
    hkm_thread_purge();
    ck_assert_uint_eq(held_slots(), 0);
}

START_TEST(fork_with_another_thread)
{
    fork_beside_another();
}
END_TEST

START_TEST(fork_while_another_holds_its_lock)
{
    locked = (void *)1;
    fork_beside_another();
}
END_TEST

static void *lock_of(void *arg)
{
    struct unit_gate *g = arg;
    (void)my_heap(NULL);
    hkm_lock(&locked->lock);
    unit_reach(g, 1);
    unit_await(g, 2);
    hkm_unlock(&locked->lock);
    return NULL;
}

static void child_whose_heap_is_locked(void *arg)
{
    static void *p[2000];
    CHILD(hkm_lock_abandoned(&hkm_thread_own()->lock));
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        p[i] = take(7);
        CHILD(p[i] && p[i] != arg);
        memset(p[i], 1, hkm_class[7].size);
    }
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        give(p[i]);
    CHILD(!hkm_lock_abandoned(&hkm_thread_own()->lock));
    CHILD(hkm_heap_valid(hkm_thread_own()));
    CHILD(all_bytes(arg, hkm_class[7].size, 7));
    give(arg);
    hkm_thread_purge();
    CHILD(held_slots() == 0);
}

START_TEST(fork_while_another_holds_our_lock)
{
    struct unit_gate g = UNIT_GATE;
    start();
    void *p = take(7);
    memset(p, 7, hkm_class[7].size);
    hkm_heap_flush(hkm_thread_own());
    locked = hkm_thread_own();
    pthread_t thread = unit_start(lock_of, &g);
    unit_await(&g, 1);
    unit_passes(child_whose_heap_is_locked, p);
    unit_reach(&g, 2);
    unit_join(thread);
    give(p);
    ck_assert(hkm_heap_valid(hkm_thread_own()));
}
END_TEST

/* A thread that never allocated forks, while the only one that did is at work: the child must not wait for it. */
static void child_of_an_idle_thread(void *arg)
{
    alarm(2);
    CHILD(take(3) != NULL);
    hkm_heap_drain(locked);
    CHILD(hkm_heap_valid(locked));
    (void)arg;
}

static struct unit_child idle_child;

static void *fork_idly(void *arg)
{
    unit_await(arg, 1);
    idle_child = unit_child(child_of_an_idle_thread, NULL);
    return NULL;
}

START_TEST(fork_by_a_thread_without_a_heap)
{
    start();
    give(take(3));
    locked = hkm_thread_own();
    struct unit_gate g = UNIT_GATE;
    pthread_t thread = unit_start(fork_idly, &g);
    for (unsigned c = 0; c < HKM_CLASSES; c++) /* it goes on, by fast and slow paths */
        give(take(c));
    hkm_lock(&locked->lock);
    unit_reach(&g, 1);
    unit_join(thread);
    hkm_unlock(&locked->lock);
    ck_assert_msg(idle_child.code == 0, "the child ended with %d: %s", idle_child.code, idle_child.text);
}
END_TEST

/* The lists of heaps, when a fork catches somebody at them.  `locked` is a heap whose lock a further thread holds:
 * whoever adopts that heap waits, and so does whoever flushes it to park it. */
static void *wait_for_it(void *arg) { return my_heap(arg); }

static void child_beside_an_adopter(void *arg)
{
    size_t heaps = hkm_thread_heaps();
    hkm_thread_purge();
    CHILD(hkm_thread_parked() == *(size_t *)arg);
    pthread_t threads[3];
    void *h[3] = { NULL };
    for (int i = 0; i < 3; i++) { /* the heap is not lost, and is nobody's twice */
        CHILD(pthread_create(&threads[i], NULL, live_until_told, &gates[10 + i]) == 0);
        unit_await(&gates[10 + i], 1);
    }
    for (int i = 0; i < 3; i++) {
        unit_reach(&gates[10 + i], 2);
        CHILD(pthread_join(threads[i], &h[i]) == 0);
        for (int j = 0; j < i; j++)
            CHILD(h[i] != h[j]);
    }
    CHILD(hkm_thread_heaps() == heaps + 3 - *(size_t *)arg);
    CHILD(h[0] == locked || h[1] == locked || h[2] == locked);
    CHILD(heaps_there_are() == hkm_thread_heaps());
}

START_TEST(fork_in_the_middle_of_an_adoption)
{
    if (EMULATED) /* a fork beside threads is the end of it */
        return;
    size_t parked = 2;
    start();
    give(take(3));
    for (int i = 10; i < 13; i++)
        gates[i] = (struct unit_gate)UNIT_GATE;
    pthread_t one = start_one(&gates[0]), two = start_one(&gates[1]);
    end_one(&gates[0], one);
    locked = end_one(&gates[1], two);
    ck_assert_uint_eq(hkm_thread_parked(), 2);
    struct unit_gate g = UNIT_GATE;
    pthread_t holder = unit_start(hold_lock, &g);
    unit_await(&g, 1);
    pthread_t adopter = unit_start(wait_for_it, NULL);
    while (hkm_thread_parked() == 2)
        usleep(1000);
    usleep(20000); /* it has the lists' lock, and waits for the heap's */
    unit_passes(child_beside_an_adopter, &parked);
    unit_reach(&g, 2);
    unit_join(holder);
    ck_assert_ptr_eq(unit_join(adopter), locked);
}
END_TEST

/* A fork without handlers, while a thread is about to park its heap. */
extern pid_t _Fork(void) __attribute__((weak));

static bool forks_can_be_quiet(void)
{
    char *page = hkm_os_map(hkm_os.page);
    return _Fork && hkm_os_wipe_on_fork(page, hkm_os.page);
}

static void quietly(void (*child)(void *arg), void *arg)
{
    pid_t pid = _Fork();
    ck_assert_int_ge(pid, 0);
    if (!pid) {
        alarm(20);
        child(arg);
        _exit(0);
    }
    ck_assert_int_eq(unit_wait(pid), 0);
}

START_TEST(fork_beside_a_dying_thread)
{
    if (EMULATED) /* a fork beside threads is the end of it */
        return;
    size_t parked = 1;
    start();
    if (!forks_can_be_quiet())
        return;
    give(take(3));
    for (int i = 10; i < 13; i++)
        gates[i] = (struct unit_gate)UNIT_GATE;
    pthread_t one = start_one(&gates[0]);
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        if (h != hkm_thread_own())
            locked = h;
    struct unit_gate g = UNIT_GATE;
    pthread_t holder = unit_start(hold_lock, &g);
    unit_await(&g, 1);
    unit_reach(&gates[0], 2); /* give(p) is a push, then it dies */
    while (hkm_load(&locked->thread))
        usleep(1000);
    usleep(20000);
    quietly(child_beside_an_adopter, &parked);
    unit_passes(child_beside_an_adopter, &parked);
    unit_reach(&g, 2);
    unit_join(holder);
    unit_join(one);
}
END_TEST

/* After _Fork the first refill makes orphans of the others' heaps, before any thread may get their addresses. */
static void child_of_a_quiet_fork(void *arg)
{
    CHILD(hkm_generation() == 1);
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        give(take(c));
    struct hkm_heap *mine = hkm_thread_own();
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        CHILD(hkm_load(&h->thread) == (h == mine ? hkm_os_thread() : 0));
    CHILD(hkm_thread_own() == mine);
    for (unsigned i = 0; i < COUNT_OF(left_behind); i++) {
        CHILD(pattern_holds(left_behind[i], hkm_class[i % HKM_CLASSES].size, i));
        give(left_behind[i]);
    }
    hkm_thread_purge();
    CHILD(hkm_thread_parked() == hkm_thread_heaps() - 1 && held_slots() == 0);
    (void)arg;
}
static void *fork_quietly(void *arg)
{
    quietly(child_of_a_quiet_fork, arg);
    return NULL;
}

/* Does that beside a thread that is in the middle of its work. */
static void beside_a_thread(void (*what)(void))
{
    if (EMULATED) /* a fork beside threads is the end of it */
        return;
    struct unit_gate g = UNIT_GATE;
    start();
    if (!forks_can_be_quiet())
        return;
    locked = NULL;
    give(take(7));
    pthread_t thread = unit_start(live_and_hold, &g);
    unit_await(&g, 1);
    what();
    unit_reach(&g, 2);
    unit_join(thread);
}

static void fork_quietly_twice(void)
{
    fork_quietly(NULL);
    unit_join(unit_start(fork_quietly, NULL)); /* by a thread that has no heap */
}

START_TEST(fork_without_handlers)
{
    beside_a_thread(fork_quietly_twice);
}
END_TEST

/* A thread of such a child that allocates before the one that forked: it must not take that one's heap from it. */
static void *first_in_child(void *arg)
{
    (void)my_heap(NULL);
    CHILD(hkm_thread_own() != arg);
    CHILD(hkm_load(&((struct hkm_heap *)arg)->thread) != 0);
    hkm_thread_purge();
    CHILD(hkm_load(&((struct hkm_heap *)arg)->thread) != 0);
    return NULL;
}
static void child_that_starts_a_thread(void *arg)
{
    struct hkm_heap *mine = hkm_thread_own();
    pthread_t thread;
    CHILD(pthread_create(&thread, NULL, first_in_child, mine) == 0 && pthread_join(thread, NULL) == 0);
    give(take(5));
    CHILD(hkm_thread_own() == mine && hkm_load(&mine->thread) == hkm_os_thread());
    hkm_thread_purge();
    CHILD(hkm_thread_parked() == hkm_thread_heaps() - 1);
    (void)arg;
}

static void start_one_in_the_child(void) { quietly(child_that_starts_a_thread, NULL); }

START_TEST(quiet_fork_then_a_thread)
{
    beside_a_thread(start_one_in_the_child);
}
END_TEST

/* A child forks while one of its threads is burying an orphan. */
static void *purge_all(void *arg)
{
    hkm_thread_purge();
    return arg;
}
static void child_that_buries(void *arg)
{
    struct unit_gate g = UNIT_GATE;
    pthread_t thread, holder;
    CHILD(pthread_create(&holder, NULL, hold_lock, &g) == 0);
    unit_await(&g, 1);
    CHILD(pthread_create(&thread, NULL, purge_all, arg) == 0);
    usleep(50000);
    pid_t pid = fork();
    if (!pid) {
        alarm(20);
        hkm_thread_purge();
        CHILD(hkm_thread_parked() == 1);
        void *h = NULL;
        CHILD(pthread_create(&thread, NULL, my_heap, NULL) == 0 && pthread_join(thread, &h) == 0 && h == locked);
        _exit(0);
    }
    int status = 1;
    CHILD(waitpid(pid, &status, 0) == pid && status == 0);
    unit_reach(&g, 2);
    CHILD(pthread_join(holder, NULL) == 0 && pthread_join(thread, NULL) == 0);
}

START_TEST(fork_beside_a_burial)
{
    if (EMULATED) /* a fork beside threads is the end of it */
        return;
    start();
    give(take(3));
    pthread_t one = start_one(&gates[0]);
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        if (h != hkm_thread_own())
            locked = h;
    unit_passes(child_that_buries, NULL);
    end_one(&gates[0], one);
}
END_TEST

/* A fork that comes while another thread asks for more room for its cache, between two sums. */
static void sum_in_child(void *arg)
{
    hkm_thread_open();
    CHILD(hkm_heap_allowed() == hkm_thread_own()->allowed);
    for (unsigned c = 0; c < HKM_CLASSES; c++)
        give(take(c));
    CHILD(hkm_heap_allowed() == hkm_thread_own()->allowed);
    hkm_thread_purge();
    (void)arg;
}

START_TEST(fork_beside_a_growing_cache)
{
    start();
    give(take(3));
    pthread_t one = start_one(&gates[0]);
    for (struct hkm_heap *h = hkm_heap_first(); h; h = h->next)
        if (h != hkm_thread_own())
            locked = h;
    locked->allowed += 10 * MIB;
    unit_passes(sum_in_child, NULL);
    locked->allowed -= 10 * MIB;
    end_one(&gates[0], one);
    ck_assert_uint_eq(hkm_heap_allowed(), hkm_thread_own()->allowed);
}
END_TEST

/* A parked heap whose lock a fork left held: what it has is still to be had. */
static void claim_in_child(void *arg)
{
    size_t slots = held_slots();
    void *p = take(hkm_class_of(1000));
    CHILD(hkm_registry_slab(p) == arg);
    CHILD(held_slots() == slots);
}

START_TEST(fork_beside_a_parked_heap)
{
    struct unit_gate g = UNIT_GATE;
    start();
    unsigned cls = hkm_class_of(1000);
    give(take(cls));
    while (hkm_thread_own()->tiny[cls].partial || hkm_thread_own()->bin[cls]->room < hkm_thread_own()->bin[cls]->cap)
        (void)take(cls);
    pthread_t thread = start_one(&gates[0]);
    locked = end_one(&gates[0], thread);
    hkm_heap_assign(locked, hkm_os_thread());
    while (!hkm_heap_refill(locked, cls))
        ck_assert(hkm_heap_supply(locked, cls));
    struct hkm_slab *s = locked->tiny[cls].partial;
    ck_assert_ptr_nonnull(hkm_bin_take(locked->bin[cls])); /* one block is out */
    hkm_heap_flush(locked);
    hkm_heap_assign(locked, 0);
    thread = unit_start(hold_lock, &g);
    unit_await(&g, 1);
    unit_passes(claim_in_child, s);
    unit_reach(&g, 2);
    unit_join(thread);
}
END_TEST

/* A fork that comes while another thread is flushing the late heap: blocks are free and still in the cache. */
static void *flush_halfway(void *arg)
{
    struct unit_gate *g = arg;
    void *p[4];
    hkm_tls = (struct hkm_tls){ HKM_LATE, 0 };
    for (unsigned i = 0; i < COUNT_OF(p); i++)
        p[i] = take(3);
    struct hkm_heap *h = hkm_thread_begin();
    struct hkm_bin *b = h->bin[3];
    while (hkm_bin_take(b))
        ;
    b->slots[--b->room] = p[0];
    b->slots[--b->room] = p[1];
    unsigned n = b->cap - b->room;
    hkm_lock(&h->lock);
    h->changing = b;
    ck_assert_ptr_null(hkm_tiny_drain(&h->tiny[3], 3, &b->slots[b->room], n));
    unit_reach(g, 1);
    unit_await(g, 2);
    b->room = b->cap;
    h->changing = NULL;
    hkm_unlock(&h->lock);
    hkm_thread_end(h);
    return NULL;
}
static void late_child(void *arg)
{
    static void *p[300];
    hkm_tls = (struct hkm_tls){ HKM_LATE, 0 };
    for (unsigned i = 0; i < COUNT_OF(p); i++) {
        p[i] = take(3);
        CHILD(p[i] != NULL);
        for (unsigned j = 0; j < i; j++)
            CHILD(p[j] != p[i]);
    }
    CHILD(hkm_heap_valid(owner(p[0])));
    (void)arg;
}

START_TEST(fork_beside_the_late_heap)
{
    struct unit_gate g = UNIT_GATE;
    start();
    give(take(3));
    pthread_t thread = unit_start(flush_halfway, &g);
    unit_await(&g, 1);
    unit_passes(late_child, NULL);
    unit_reach(&g, 2);
    unit_join(thread);
}
END_TEST

/* ---- the end of memory ------------------------------------------------------------------------------------------- */

static void run_out(void *arg)
{
    void **last = NULL;
    (void)arg;
    CHILD(take(0) != NULL);
    unit_limit(16 * MIB);
    unsigned n = 0;
    for (void **p; (p = take(HKM_CLASSES - 1)) != NULL; last = p) {
        *p = last;
        CHILD(++n < 2000);
    }
    CHILD(n > 100);
    while (last) {
        void **next = *last;
        give(last);
        last = next;
    }
    CHILD(take(HKM_CLASSES - 1) != NULL);
    unit_unlimit();
    CHILD(take(HKM_CLASSES - 1) != NULL);
}

START_TEST(out_of_memory)
{
    start();
    if (LIMITS_HOLD)
        unit_passes(run_out, NULL);
}
END_TEST

/* A heap that is used by runs and the nursery alone comes to its turn of giving idle memory back, too. */
START_TEST(a_tick_is_an_event)
{
    start();
    hkm_thread_tick(); /* without a heap: nothing */
    give(take(7));
    struct hkm_heap *h = hkm_thread_own();
    size_t events = hkm_load(&h->events);
    for (size_t i = 1; i <= 5; i++) {
        hkm_thread_tick();
        ck_assert_uint_eq(hkm_load(&h->events), events + i);
    }
}
END_TEST

UNIT_MAIN("thread", CK_FORK, birth_on_first_use, heaps_are_adopted, last_parked_first_adopted, death_empties_the_cache,
          destructors_may_allocate, late_heap_is_shared, parked_heaps_before_the_pool, used_slots_before_fresh_ones,
          many_parked_heaps, purge_gives_all_back, fork_with_another_thread, fork_while_another_holds_its_lock,
          fork_while_another_holds_our_lock, fork_by_a_thread_without_a_heap, first_use_in_a_destructor,
          first_use_in_a_later_destructor, heap_of_a_thread_that_vanished, fork_in_the_middle_of_an_adoption,
          fork_beside_a_dying_thread, fork_without_handlers, quiet_fork_then_a_thread, fork_beside_a_burial,
          fork_beside_a_parked_heap, fork_beside_the_late_heap, fork_beside_a_growing_cache, out_of_memory,
          a_tick_is_an_event)
