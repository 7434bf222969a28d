/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_bigcache.c: freed big blocks are kept and found again, by size and by site; bounded, aged, and given back.
 */
#include "bigcache.h"
#include "big.h"
#include "lock.h"
#include "mid.h"
#include "option.h"
#include "superslab.h"
#include "policy.h"
#include "unit.h"

static const char sites[512];
#define site_a sites[0]
#define site_b sites[256] /* none at the same place of the table, as NULL might be */
#define site_c sites[128]

/* Enough in use that a share of it is more than the tests keep. */
static void start(void)
{
    hkm_os_init();
    ck_assert_ptr_nonnull(hkm_mid_alloc(1024 * MIB, 16, false, NULL));
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
}

/* From then on what the site frees of that size is kept. */
static void asks(size_t size, const void *site)
{
    hkm_bigcache_note(size, site);
    hkm_bigcache_note(size, site);
}

static char *run(size_t size, const void *site)
{
    asks(size, site);
    char *p = hkm_mid_alloc(size, 16, false, site);
    ck_assert_ptr_nonnull(p);
    return p;
}

static struct hkm_slab *record(const void *p) { return hkm_registry_slab(p); }

static bool is_free_slot(const char *p)
{
    size_t slot = 0;
    struct hkm_range *r = hkm_registry_find(p, &slot);
    return r && hkm_tag_at(r, slot) == &hkm_tag_none;
}

START_TEST(a_run_comes_back)
{
    start();
    ck_assert_ptr_null(hkm_bigcache_take(MIB, &site_a));
    char *p = run(3 * MIB, &site_a);
    memset(p, 7, 3 * MIB);
    ck_assert(hkm_bigcache_put_run(record(p)));
    ck_assert_uint_eq(hkm_bigcache_bytes(), 3 * MIB);
    ck_assert(record(p)->listed);
    ck_assert(!is_free_slot(p));
    ck_assert_ptr_null(hkm_bigcache_take(2 * MIB, &site_a)); /* too much would be wasted */
    ck_assert_ptr_null(hkm_bigcache_take(3 * MIB + 1, &site_a));
    ck_assert_ptr_eq(hkm_bigcache_take(3 * MIB - 300 * KIB, &site_b), p);
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
    ck_assert_uint_eq(hkm_bigcache_hits(), 1);
    ck_assert(!record(p)->listed);
    ck_assert_ptr_eq(record(p)->site, &site_b);
    ck_assert_int_eq(p[3 * MIB - 1], 7);
    ck_assert_ptr_null(hkm_bigcache_take(3 * MIB, &site_a)); /* once */
}
END_TEST

/* A run that has room beyond what was asked for serves more than that. */
START_TEST(as_large_as_its_slots)
{
    start();
    char *p = run(2 * MIB + 1, &site_a);
    ck_assert(hkm_bigcache_put_run(record(p)));
    ck_assert_ptr_eq(hkm_bigcache_take(2 * MIB + HKM_SLOT_SIZE, &site_a), p);
    ck_assert_uint_eq(record(p)->bytes, 2 * MIB + HKM_SLOT_SIZE);
}
END_TEST

START_TEST(small_blocks_are_not_kept)
{
    start();
    char *p = run(MIB - HKM_SLOT_SIZE, &site_a);
    ck_assert(!hkm_bigcache_put_run(record(p)));
    ck_assert(!record(p)->listed);
    ck_assert_ptr_null(hkm_bigcache_take(MIB - HKM_SLOT_SIZE, &site_a));
}
END_TEST

START_TEST(the_same_site_first)
{
    start();
    char *a = run(4 * MIB, &site_a), *b = run(4 * MIB, &site_b), *c = run(4 * MIB, &site_a);
    ck_assert(hkm_bigcache_put_run(record(a)) && hkm_bigcache_put_run(record(b)) && hkm_bigcache_put_run(record(c)));
    ck_assert_ptr_eq(hkm_bigcache_take(4 * MIB, &site_b), b);
    char *first = hkm_bigcache_take(4 * MIB, &site_a);
    ck_assert(first == a || first == c);
    ck_assert_ptr_eq(hkm_bigcache_take(4 * MIB, &site_b), first == a ? c : a); /* another's is better than none */
    ck_assert_ptr_null(hkm_bigcache_take(4 * MIB, &site_b));
}
END_TEST

START_TEST(big_blocks)
{
    start();
    char *p = hkm_big_alloc(40 * MIB, 16, &site_a);
    asks(40 * MIB, &site_a);
    asks(40 * MIB, &site_b);
    memset(p, 5, MIB);
    size_t before = hkm_big_bytes();
    ck_assert(hkm_bigcache_free_big(p));
    ck_assert_uint_eq(hkm_bigcache_bytes(), 40 * MIB);
    ck_assert_uint_eq(hkm_big_bytes(), before - 40 * MIB);
    ck_assert_uint_eq(hkm_big_mapped(), before);
    ck_assert_uint_eq(hkm_big_size(p), 0);
    ck_assert(hkm_big_was(p)); /* free: a second free is told as such */
    ck_assert(!hkm_bigcache_free_big(p));
    ck_assert(!hkm_big_free(p));
    ck_assert_ptr_null(hkm_big_resize(p, 50 * MIB));
    ck_assert_ptr_eq(hkm_bigcache_take(39 * MIB, &site_b), p);
    ck_assert_uint_eq(hkm_big_size(p), 40 * MIB);
    ck_assert_uint_eq(hkm_big_bytes(), before);
    ck_assert(!hkm_big_was(p));
    ck_assert_int_eq(p[MIB - 1], 5);
    asks(40 * MIB, &site_b);
    ck_assert(hkm_bigcache_free_big(p));
    ck_assert_ptr_eq(hkm_bigcache_take(40 * MIB, &site_b), p);
    ck_assert(hkm_big_free(p));
    ck_assert(!hkm_bigcache_free_big(p));
    ck_assert_ptr_null(hkm_bigcache_take(40 * MIB, &site_b));
}
END_TEST

START_TEST(given_back)
{
    start();
    char *p = run(8 * MIB, &site_a), *q = hkm_big_alloc(40 * MIB, 16, &site_b);
    asks(40 * MIB, &site_b);
    ck_assert(hkm_bigcache_put_run(record(p)) && hkm_bigcache_free_big(q));
    ck_assert_uint_eq(hkm_bigcache_release(), 48 * MIB);
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
    ck_assert(is_free_slot(p));
    ck_assert(!unit_readable(q));
    ck_assert_uint_eq(hkm_bigcache_release(), 0);
}
END_TEST

START_TEST(makes_way)
{
    start();
    char *p = run(8 * MIB, &site_a);
    memset(p, 1, 8 * MIB);
    ck_assert(hkm_bigcache_put_run(record(p)));
    hkm_bigcache_make_way(5 * MIB); /* nothing else is dirty */
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
    ck_assert_uint_eq(hkm_superslab_dirty(), 8 * MIB);
    char *q = run(9 * MIB, &site_a);
    ck_assert(hkm_bigcache_put_run(record(q)));
    hkm_store(&hkm_superslab_stats.dirty, 8 * MIB / HKM_SLOT_SIZE);
    hkm_bigcache_make_way(5 * MIB); /* there is as much without */
    ck_assert_uint_eq(hkm_bigcache_bytes(), 9 * MIB);
}
END_TEST

START_TEST(bounded)
{
    start();
    char *p[16];
    /* By the share of the heap: 12 % of some 1200 MiB. */
    size_t kept = 0;
    for (size_t i = 0; i < COUNT_OF(p); i++)
        p[i] = run((16 + i) * MIB, (const char *)&site_a + 16 * i);
    for (size_t i = 0; i < COUNT_OF(p); i++) {
        bool keeps = hkm_bigcache_put_run(record(p[i]));
        if (!keeps)
            hkm_mid_free(record(p[i]));
        kept += keeps ? (16 + i) * MIB : 0;
        ck_assert_uint_eq(hkm_bigcache_bytes(), kept);
    }
    ck_assert_uint_gt(kept, 90 * MIB);
    ck_assert_uint_lt(kept, 160 * MIB);
    hkm_bigcache_release();
    /* By bytes. */
    SET_OPTION(bigcache_kb, 10 * 1024);
    char *q = run(8 * MIB, &site_a), *r = run(4 * MIB, &site_b);
    hkm_superslab_purge(0);
    ck_assert(hkm_bigcache_put_run(record(q)));
    ck_assert(!hkm_bigcache_put_run(record(r)));
    SET_OPTION(disable_bigcache, 1);
    ck_assert_ptr_eq(hkm_bigcache_take(8 * MIB, &site_a), q);
    ck_assert(!hkm_bigcache_put_run(record(q)));
}
END_TEST

/* A site that asks for another size each time keeps nothing; one that has come to ask for the same does. */
START_TEST(only_what_is_wanted)
{
    start();
    char *p = run(4 * MIB, &site_a), *q = run(6 * MIB, &site_a);
    hkm_bigcache_note(4 * MIB, &site_a);
    ck_assert(!hkm_bigcache_put_run(record(p)));
    ck_assert(!hkm_bigcache_put_run(record(q)));
    hkm_bigcache_note(4 * MIB, &site_a);
    ck_assert(!hkm_bigcache_put_run(record(q)));
    ck_assert(hkm_bigcache_put_run(record(p)));
    ck_assert_ptr_eq(hkm_bigcache_take(4 * MIB, &site_a), p);
    ck_assert(hkm_bigcache_put_run(record(p)));
    char *r = run(5 * MIB, HKM_SITE_RESIZED);
    ck_assert(!hkm_bigcache_put_run(record(r)));
}
END_TEST

/* More blocks of a class than it has ways. */
START_TEST(full_class)
{
    start();
    size_t kept = 0;
    char *p[20];
    for (size_t i = 0; i < COUNT_OF(p); i++)
        p[i] = run(MIB, &site_a);
    for (size_t i = 0; i < COUNT_OF(p); i++)
        kept += hkm_bigcache_put_run(record(p[i]));
    ck_assert_uint_ge(kept, 4);
    ck_assert_uint_lt(kept, COUNT_OF(p));
    ck_assert_uint_eq(hkm_bigcache_bytes(), kept * MIB);
    while (hkm_bigcache_take(MIB, &site_b))
        kept--;
    ck_assert_uint_eq(kept, 0);
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
}
END_TEST

START_TEST(aged)
{
    start();
    SET_OPTION(purge_ms, 40);
    SET_OPTION(dirty_percent, 1);
    SET_OPTION(dirty_kb, 8192);
    char *p = run(9 * MIB, &site_a), *q = run(4 * MIB, &site_b);
    ck_assert(hkm_bigcache_put_run(record(p)));
    hkm_mid_free(record(run(3 * MIB, &site_c))); /* dirty beside it: more than a hundredth of 1 GiB together */
    hkm_bigcache_age();
    ck_assert_uint_eq(hkm_bigcache_bytes(), 9 * MIB);
    usleep(100000);
    ck_assert(hkm_bigcache_put_run(record(q))); /* looks after the others; it is young itself */
    hkm_bigcache_age();
    ck_assert_uint_eq(hkm_bigcache_bytes(), 4 * MIB);
    hkm_superslab_purge(0);
    usleep(100000);
    hkm_bigcache_age(); /* so little may stay */
    ck_assert_uint_eq(hkm_bigcache_bytes(), 4 * MIB);
}
END_TEST

/* Blocks pass from hand to hand; nobody ever has the same as another. */
enum { THREADS = 4, ROUNDS = 20000 };
static void *pass_around(void *arg)
{
    uint64_t seed = (uintptr_t)arg + 1;
    for (int i = 0; i < ROUNDS; i++) {
        size_t size = (size_t)(1 + random_below(&seed, 6)) * MIB;
        bool big = random_below(&seed, 4) == 0;
        hkm_bigcache_note(size, arg);
        size_t *p = hkm_bigcache_take(size, arg);
        if (!p)
            p = big ? hkm_big_alloc(size, 16, arg) : hkm_mid_alloc(size, 16, false, arg);
        expect(p != NULL);
        p[0] = (size_t)arg;
        p[size / sizeof *p - 1] = ~(size_t)arg;
        if (random_below(&seed, 8) == 0)
            hkm_bigcache_age();
        expect(p[0] == (size_t)arg && p[size / sizeof *p - 1] == ~(size_t)arg);
        if (hkm_big_size(p))
            expect(hkm_bigcache_free_big(p));
        else if (!hkm_bigcache_put_run(record(p)))
            hkm_mid_free(record(p));
        if (random_below(&seed, 500) == 0)
            hkm_bigcache_release();
    }
    return NULL;
}

START_TEST(threads)
{
    start();
    SET_OPTION(purge_ms, 1);
    pthread_t t[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        t[i] = unit_start(pass_around, (void *)(i + 1));
    for (size_t i = 0; i < THREADS; i++)
        unit_join(t[i]);
    size_t kept = hkm_bigcache_bytes();
    ck_assert_uint_eq(hkm_bigcache_release(), kept);
    ck_assert_uint_eq(hkm_bigcache_bytes(), 0);
    ck_assert_uint_eq(hkm_superslab_taken(), 1024 * MIB);
    ck_assert_uint_eq(hkm_big_mapped(), 0);
    ck_assert_uint_gt(hkm_bigcache_hits(), 0);
}
END_TEST

/* The child of a fork finds the blocks, and counts them afresh. */
START_TEST(child)
{
    start();
    char *p = run(3 * MIB, &site_a), *q = hkm_big_alloc(40 * MIB, 16, &site_b);
    asks(40 * MIB, &site_b);
    ck_assert(hkm_bigcache_put_run(record(p)) && hkm_bigcache_free_big(q));
    pid_t pid = fork();
    if (pid == 0) {
        hkm_bigcache_recount();
        _exit(hkm_bigcache_bytes() == 43 * MIB && hkm_bigcache_take(3 * MIB, NULL) == p &&
                      hkm_bigcache_take(40 * MIB, NULL) == q && !hkm_bigcache_bytes()
                  ? 0
                  : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(hkm_bigcache_bytes(), 43 * MIB);
}
END_TEST

UNIT_MAIN("bigcache", CK_FORK, a_run_comes_back, as_large_as_its_slots, small_blocks_are_not_kept, the_same_site_first, big_blocks,
          given_back, makes_way, bounded, only_what_is_wanted, full_class, aged, threads, child)
