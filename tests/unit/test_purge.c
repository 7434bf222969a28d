/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_purge.c: looks for idle pages: that they come back, whose they are, and that what is in use stays.
 */
#include "purge.h"
#include "alloc.h"
#include "bigcache.h"
#include "option.h"
#include "policy.h"
#include "unit.h"

enum { N = 40000, SIZE = 512, EACH = 64, MS = 60 };
static char *p[N];

#define PURGED hkm_load(&hkm_superslab_stats.purged)
#define PURGES hkm_load(&hkm_superslab_stats.purges)

static void start(void)
{
    hkm_os_init();
    SET_OPTION(purge_ms, MS);
    SET_OPTION(dirty_kb, 64);
    SET_OPTION(disable_prefault, 1);
}

static void take_all(void)
{
    for (size_t i = 0; i < N; i++)
        expect((p[i] = hkm_alloc(SIZE, NULL)) != NULL && memset(p[i], (int)(i % 251), SIZE));
}

/* All but one of EACH. */
static void give_most(void)
{
    for (size_t i = 0; i < N; i++)
        if (i % EACH)
            hkm_free_fast(p[i]);
}

static void *make_peak(void *gate)
{
    take_all();
    unit_reach(gate, 1);
    unit_await(gate, 2);
    give_most();
    unit_reach(gate, 3);
    unit_await(gate, 4); /* idle */
    return NULL;
}

static bool survivors_whole(void)
{
    for (size_t i = 0; i < N; i += EACH)
        if (!all_bytes(p[i], SIZE, (unsigned char)(i % 251)))
            return false;
    return true;
}

/* As slow calls do, for a time. */
static void tick(unsigned ms)
{
    struct hkm_heap *h = hkm_thread_keep();
    for (size_t since = hkm_os_ms(); hkm_os_ms() - since < ms; usleep(1000))
        for (int i = 0; i < 50; i++)
            hkm_purge_slow(h);
}

static size_t pages_expected(void) { return hkm_os.page == 4096 ? (size_t)N * SIZE / 2 : 0; }

START_TEST(idle_pages_come_back)
{
    start();
    take_all();
    size_t before = PURGED;
    ck_assert_uint_eq(before, 0);
    give_most();
    tick(5 * MS);
    ck_assert_uint_ge(PURGED, pages_expected());
    ck_assert(survivors_whole());
    /* There is no more; and the clean pages are not asked for again. */
    size_t purges = PURGES;
    for (int i = 0; i < 20; i++) {
        hkm_purge_slow(hkm_thread_own());
        usleep(MS * 1000 / 4);
    }
    ck_assert_uint_eq(PURGES, purges);
    /* What comes from them is memory like any other. */
    for (size_t i = 0; i < N; i++)
        if (i % EACH)
            memset(p[i] = hkm_alloc(SIZE, NULL), 3, SIZE);
    for (size_t i = 0; i < N; i++)
        expect(all_bytes(p[i], SIZE, i % EACH ? 3 : (unsigned char)(i % 251)));
    ck_assert(hkm_heap_valid(hkm_thread_own()));
}
END_TEST

/* One of four looks at the time. */
static void last_slow_calls(void)
{
    usleep(20000);
    for (int i = 0; i < 4; i++)
        hkm_thread_tick();
}

/* A thread that frees as much as it takes, and now and then, needs no slow call for that. */
START_TEST(the_caches_serve_all)
{
    start();
    take_all();
    SET_OPTION(disable_purge, 1);
    give_most();
    last_slow_calls();
    SET_OPTION(disable_purge, 0);
    struct hkm_heap *h = hkm_thread_own();
    size_t purged = PURGED, refills = hkm_load(&h->count.refills), flushes = hkm_load(&h->count.flushes);
    for (int i = 0; i < 400 && PURGED - purged < pages_expected(); i++) {
        usleep(10000);
        hkm_free_fast(i % 2 ? hkm_alloc_fast(SIZE) : hkm_alloc_zeroed_fast(1, SIZE));
    }
    ck_assert_uint_ge(PURGED - purged, pages_expected());
    ck_assert_uint_le(hkm_load(&h->count.refills) - refills, 1);
    ck_assert_uint_eq(hkm_load(&h->count.flushes), flushes);
    ck_assert(survivors_whole());
}
END_TEST

/* It is called four times in a millisecond at most, and some hundred times after a while without. */
START_TEST(a_busy_thread_is_seldom_called)
{
    start();
    take_all();
    last_slow_calls();
    struct hkm_heap *h = hkm_thread_own();
    size_t slow = hkm_load(&h->count.refills) + hkm_load(&h->count.flushes), calls = 0;
    size_t began = hkm_os_ms();
    for (int i = 0; i < 100000; i++) {
        calls += hkm_tls.below == HKM_CALLED;
        hkm_free_fast(hkm_alloc_fast(SIZE));
    }
    ck_assert_uint_gt(calls, 0);
    /* Each slow call may call it anew, and the clock goes by 10 ms where it is slow. */
    slow = hkm_load(&h->count.refills) + hkm_load(&h->count.flushes) - slow;
    ck_assert_uint_le(calls, 512 + slow + 4 * (hkm_os_ms() - began + 10));
    ck_assert_uint_eq(hkm_thread_own() == h, 1);
    give_most();
}
END_TEST

/* What the BigCache has goes by its age, too, where nobody asks for big blocks any more. */
START_TEST(big_blocks_age_without_others)
{
    start();
    SET_OPTION(dirty_kb, 4096);
    for (int i = 0; i < 3; i++) { /* a size that is asked for again is kept */
        char *big = hkm_alloc(3 * MIB, NULL);
        expect(big != NULL && memset(big, 1, 3 * MIB));
        hkm_free_fast(big);
    }
    ck_assert_uint_ge(hkm_bigcache_bytes(), 3 * MIB);
    SET_OPTION(dirty_kb, 64);
    tick(MS * 4);
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
}
END_TEST

START_TEST(idle_heaps_of_other_threads)
{
    struct unit_gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    start();
    pthread_t t = unit_start(make_peak, &gate);
    unit_await(&gate, 1);
    unit_reach(&gate, 2);
    unit_await(&gate, 3);
    tick(5 * MS); /* by this thread, which has nothing itself */
    ck_assert_uint_ge(PURGED, pages_expected());
    ck_assert(survivors_whole());
    unit_reach(&gate, 4);
    unit_join(t);
    ck_assert(survivors_whole());
}
END_TEST

/* Blocks of a thread that sleeps, freed by another one: they come back without it, too. */
START_TEST(remote_frees_of_a_sleeping_owner)
{
    struct unit_gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    start();
    pthread_t t = unit_start(make_peak, &gate);
    unit_await(&gate, 1);
    give_most();
    tick(6 * MS);
    ck_assert_uint_ge(PURGED, pages_expected());
    ck_assert(survivors_whole());
    take_all(); /* so that the thread frees what is live */
    unit_reach(&gate, 2);
    unit_await(&gate, 3);
    unit_reach(&gate, 4);
    unit_join(t);
}
END_TEST

START_TEST(not_when_switched_off)
{
    start();
    SET_OPTION(disable_purge, 1);
    take_all();
    give_most();
    tick(4 * MS);
    ck_assert_uint_eq(PURGED, 0);
}
END_TEST

/* What is used all the time is not given back, be it free at every look. */
START_TEST(pages_in_use_stay)
{
    start();
    SET_OPTION(dirty_kb, 1 << 20); /* nothing is too much at once */
    SET_OPTION(purge_ms, 20 * MS);
    take_all();
    give_most();
    hkm_heap_flush(hkm_thread_own());
    size_t since = hkm_os_ms();
    for (int i = 0; i < 8; i++) {
        for (size_t k = 0; k < N; k++)
            if (k % EACH)
                memset(p[k] = hkm_alloc(SIZE, NULL), 1, SIZE);
        give_most();
        tick(MS / 4);
    }
    if (hkm_os_ms() - since < 20 * MS) /* a busy machine may have taken its time */
        ck_assert_uint_eq(PURGED, 0);
    ck_assert(survivors_whole());
}
END_TEST

/* A heap whose lock somebody has is passed by, not waited for. */
START_TEST(nobody_waits)
{
    start();
    take_all();
    give_most();
    struct hkm_heap *h = hkm_thread_own();
    ck_assert(hkm_heap_try(h));
    size_t before = PURGES;
    for (int i = 0; i < 100; i++) {
        hkm_purge_slow(h);
        usleep(MS * 1000 / 20);
    }
    size_t slots_only = PURGES; /* free slots are nobody's */
    hkm_heap_leave(h);
    ck_assert_uint_ge(slots_only, before);
    tick(5 * MS);
    ck_assert_uint_ge(PURGED, pages_expected());
    ck_assert(hkm_heap_valid(h));
}
END_TEST

/* The child of a process in which a thread was in the middle of a look goes on by itself. */
static void in_child(void *arg)
{
    (void)arg;
    tick(6 * MS);
    CHILD(survivors_whole());
    CHILD(PURGED >= pages_expected());
    for (size_t i = 0; i < N; i += EACH)
        hkm_free_fast(p[i]);
    CHILD(hkm_alloc_purge() > 0);
}

START_TEST(fork_in_the_middle_of_a_look)
{
    struct unit_gate gate = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };
    start();
    SET_OPTION(purge_ms, 20 * MS);
    SET_OPTION(dirty_kb, 16384); /* hurries, but begins late */
    pthread_t t = unit_start(make_peak, &gate);
    unit_await(&gate, 1);
    unit_reach(&gate, 2);
    unit_await(&gate, 3);
    SET_OPTION(purge_ms, MS);
    SET_OPTION(dirty_kb, 64);
    unit_passes(in_child, NULL);
    tick(5 * MS);
    ck_assert_uint_ge(PURGED, pages_expected());
    ck_assert(survivors_whole());
    unit_reach(&gate, 4);
    unit_join(t);
}
END_TEST

UNIT_MAIN("purge", CK_FORK, idle_pages_come_back, idle_heaps_of_other_threads, remote_frees_of_a_sleeping_owner,
          not_when_switched_off, pages_in_use_stay, nobody_waits, fork_in_the_middle_of_a_look, big_blocks_age_without_others,
          the_caches_serve_all, a_busy_thread_is_seldom_called)
