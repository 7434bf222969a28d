/* SPDX-License-Identifier: MIT
 * SPDX-FileCopyrightText: 2026 The libhakmem authors
 *
 * test_site.c: the table of call sites: what it counts, how it forgets, and that nobody gets in another's way.
 */
#include "site.h"
#include "meta.h"
#include "option.h"
#include "os.h"
#include "unit.h"

/* Sites are never dereferenced: any numbers do. */
static const void *site(size_t n) { return (const void *)(0x10000 + 16 * n); }

static size_t lives(const struct hkm_site *r)
{
    size_t sum = 0;
    for (unsigned i = 0; i < HKM_SITE_LIVES; i++)
        sum += hkm_load(&r->lives[i]);
    return sum;
}

START_TEST(counts)
{
    hkm_os_init();
    ck_assert_ptr_null(hkm_site_find(site(1)));
    uint32_t a = hkm_site_alloc(site(1), 3 * MIB), b = hkm_site_alloc(site(1), 5 * MIB), c = hkm_site_alloc(site(2), MIB);
    ck_assert(a && b && c);
    hkm_site_free(site(1), 3 * MIB, a, 0);
    const struct hkm_site *r = hkm_site_find(site(1)), *s = hkm_site_find(site(2));
    ck_assert(r && s && r != s);
    ck_assert_uint_eq(hkm_load(&r->allocs), 2);
    ck_assert_uint_eq(hkm_load(&r->bytes), 8 * MIB);
    ck_assert_uint_eq(hkm_load(&r->frees), 1);
    ck_assert_uint_eq(hkm_load(&r->freed), 3 * MIB);
    ck_assert_uint_eq(lives(r), 1);
    ck_assert_uint_eq(hkm_load(&s->allocs), 1);
    ck_assert_uint_eq(hkm_load(&s->frees), 0);
    ck_assert_uint_eq(hkm_load(&s->bytes), MIB);
}
END_TEST

/* Below the least size, unknown, made by realloc, or not told of when it was made. */
START_TEST(what_is_not_told)
{
    hkm_os_init();
    size_t before = hkm_meta_bytes();
    ck_assert_uint_eq(hkm_site_alloc(site(1), HKM_SITE_LEAST - 1), 0);
    ck_assert_uint_eq(hkm_site_alloc(NULL, MIB), 0);
    ck_assert_uint_eq(hkm_site_alloc(HKM_SITE_RESIZED, MIB), 0);
    hkm_site_free(site(1), MIB, 0, 7);
    ck_assert_ptr_null(hkm_site_find(site(1)));
    ck_assert_uint_eq(hkm_meta_bytes(), before);
}
END_TEST

START_TEST(switched_off)
{
    hkm_os_init();
    hkm_store(&hkm_option.disable_sites, 1);
    ck_assert_uint_eq(hkm_site_alloc(site(1), MIB), 0);
    hkm_site_label(site(1), 100, false);
    ck_assert_ptr_null(hkm_site_find(site(1)));
    hkm_store(&hkm_option.disable_sites, 0);
    uint32_t born = hkm_site_alloc(site(1), MIB);
    ck_assert(born && hkm_site_find(site(1)));
    hkm_store(&hkm_option.disable_sites, 1);
    hkm_site_free(site(1), MIB, born, 0);
    ck_assert_uint_eq(hkm_load(&hkm_site_find(site(1))->frees), 0);
}
END_TEST

/* What a run cache handed out again counts when it is told. */
START_TEST(handed_out_again)
{
    hkm_os_init();
    uint32_t born = hkm_site_alloc(site(1), 2 * MIB);
    hkm_site_free(site(1), 2 * MIB, born - 1000, 99); /* a hundred lives of 10 ms each */
    const struct hkm_site *r = hkm_site_find(site(1));
    ck_assert_uint_eq(hkm_load(&r->allocs), 100);
    ck_assert_uint_eq(hkm_load(&r->frees), 100);
    ck_assert_uint_eq(hkm_load(&r->bytes), 200 * MIB);
    ck_assert_uint_eq(hkm_load(&r->freed), 200 * MIB);
    ck_assert_uint_eq(hkm_load(&r->lives[1]), 100);
}
END_TEST

START_TEST(lifetimes)
{
    static const uint32_t ms[HKM_SITE_LIVES] = { 0, 20, 300, 2000, 10000, 100000, 1000000 };
    hkm_os_init();
    for (unsigned i = 0; i < HKM_SITE_LIVES; i++) {
        size_t lived = 0;
        for (int tries = 0; tries < 1000 && !lived; tries++) { /* time may pass between the two */
            uint32_t born = hkm_site_alloc(site(1 + i), MIB);
            hkm_site_free(site(1 + i), MIB, born - ms[i], 0);
            lived = hkm_load(&hkm_site_find(site(1 + i))->lives[i]);
        }
        ck_assert_uint_eq(lived, 1);
    }
    hkm_site_free(site(1), MIB, (hkm_site_alloc(site(1), MIB) - 0x70000000u) | 1, 0); /* 21 days */
    ck_assert_uint_eq(hkm_load(&hkm_site_find(site(1))->lives[HKM_SITE_LIVES - 1]), 1);
}
END_TEST

START_TEST(reuse)
{
    hkm_os_init();
    uint32_t born = hkm_site_alloc(site(1), MIB);
    const struct hkm_site *r = hkm_site_find(site(1));
    ck_assert_uint_eq(hkm_load(&r->reuse), 0);
    for (int i = 0; i < 10; i++) {
        hkm_site_free(site(1), MIB, born, 0);
        usleep(20000);
        born = hkm_site_alloc(site(1), MIB);
        ck_assert_uint_ge(hkm_load(&r->reuse) / 8, 8);
    }
    size_t was = hkm_load(&r->reuse);
    hkm_site_alloc(site(1), MIB); /* nothing was freed since */
    ck_assert_uint_eq(hkm_load(&r->reuse), was);
    ck_assert_uint_lt(was / 8, 2000);
}
END_TEST

/* One class, or several. */
START_TEST(sizes)
{
    hkm_os_init();
    for (int i = 0; i < 4; i++)
        hkm_site_alloc(site(1), 4 * MIB + (size_t)i * 4096);
    size_t recent = hkm_load(&hkm_site_find(site(1))->recent), last = recent & 0xff;
    ck_assert_uint_ne(last, 0);
    ck_assert_uint_eq(recent, last << 24 | last << 16 | last << 8 | last);
    hkm_site_alloc(site(1), 5 * MIB);
    size_t now = hkm_load(&hkm_site_find(site(1))->recent);
    ck_assert_uint_eq(now, last << 24 | last << 16 | last << 8 | (last + 1));
}
END_TEST

START_TEST(labels)
{
    hkm_os_init();
    hkm_site_label(site(1), 100, false);
    hkm_site_label(site(1), 0, false);
    hkm_site_label(site(1), 100, true);
    hkm_site_label(site(1), HKM_SITE_LEAST, false); /* the block's own way tells of it */
    const struct hkm_site *r = hkm_site_find(site(1));
    ck_assert_uint_eq(hkm_load(&r->allocs), 2);
    ck_assert_uint_eq(hkm_load(&r->frees), 1);
    ck_assert_uint_eq(hkm_load(&r->bytes), 100);
    ck_assert_uint_eq(hkm_load(&r->freed), 100);
}
END_TEST

/* More sites than rows: the table stays as it is, and one that asks often stays in it. */
START_TEST(forgets)
{
    hkm_os_init();
    for (size_t i = 0; i < 20 * HKM_SITE_ROWS; i++) {
        hkm_site_alloc(site(0), MIB);
        hkm_site_alloc(site(1 + i), MIB);
        ck_assert_ptr_nonnull(hkm_site_find(site(1 + i)));
    }
    size_t left = 0, others = 0;
    for (size_t i = 0; i < 20 * HKM_SITE_ROWS; i++) {
        const struct hkm_site *r = hkm_site_find(site(1 + i));
        left += r != NULL;
        others += r && hkm_load(&r->allocs) != 1;
    }
    ck_assert_uint_eq(others, 0); /* a row begins anew with each site */
    ck_assert_uint_le(left, HKM_SITE_ROWS);
    ck_assert_uint_ge(left, HKM_SITE_ROWS / 2);
    ck_assert_uint_eq(hkm_load(&hkm_site_find(site(0))->allocs), 20 * HKM_SITE_ROWS);
}
END_TEST

enum { THREADS = 4, ROUNDS = 100000 };
static void *count_on(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t born = hkm_site_alloc(site(1), MIB);
        hkm_site_free(site(1), MIB, born, 1);
        hkm_site_label(arg, 10, false);
    }
    return NULL;
}

/* Nothing is lost where no row changes hands. */
START_TEST(threads)
{
    pthread_t t[THREADS];
    hkm_os_init();
    hkm_site_alloc(site(1), MIB);
    for (size_t i = 0; i < THREADS; i++)
        t[i] = unit_start(count_on, (void *)(uintptr_t)site(100 + i % 2));
    for (size_t i = 0; i < THREADS; i++)
        unit_join(t[i]);
    const struct hkm_site *r = hkm_site_find(site(1));
    ck_assert_uint_eq(hkm_load(&r->allocs), 2 * THREADS * ROUNDS + 1);
    ck_assert_uint_eq(hkm_load(&r->frees), 2 * THREADS * ROUNDS);
    ck_assert_uint_eq(hkm_load(&r->bytes), (2 * THREADS * ROUNDS + 1) * MIB);
    ck_assert_uint_eq(lives(r), 2 * THREADS * ROUNDS);
}
END_TEST

static void *come_and_go(void *arg)
{
    uint64_t seed = (uintptr_t)arg + 1;
    for (int i = 0; i < ROUNDS; i++) {
        const void *s = site(random_below(&seed, 3 * HKM_SITE_ROWS));
        uint32_t born = hkm_site_alloc(s, MIB);
        hkm_site_free(s, MIB, born, 0);
    }
    return NULL;
}

/* Rows change hands all the time: numbers may be off by what was just being counted, and the table stays whole. */
START_TEST(races)
{
    pthread_t t[THREADS];
    size_t found = 0;
    hkm_os_init();
    for (size_t i = 0; i < THREADS; i++)
        t[i] = unit_start(come_and_go, (void *)i);
    for (size_t i = 0; i < THREADS; i++)
        unit_join(t[i]);
    for (size_t i = 0; i < 3 * HKM_SITE_ROWS; i++) {
        const struct hkm_site *r = hkm_site_find(site(i));
        found += r != NULL;
        if (r)
            ck_assert_uint_le(hkm_load(&r->allocs), THREADS * ROUNDS);
    }
    ck_assert_uint_le(found, HKM_SITE_ROWS);
    ck_assert_uint_gt(found, HKM_SITE_ROWS / 2);
}
END_TEST

START_TEST(child)
{
    hkm_os_init();
    hkm_site_alloc(site(1), MIB);
    pid_t pid = fork();
    if (pid == 0) {
        hkm_site_alloc(site(1), MIB);
        hkm_site_alloc(site(2), MIB);
        _exit(hkm_load(&hkm_site_find(site(1))->allocs) == 2 && hkm_site_find(site(2)) ? 0 : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_eq(hkm_load(&hkm_site_find(site(1))->allocs), 1);
    ck_assert_ptr_null(hkm_site_find(site(2)));
}
END_TEST

UNIT_MAIN("site", CK_FORK, counts, what_is_not_told, switched_off, handed_out_again, lifetimes, reuse, sizes, labels, forgets,
          threads, races, child)
